package docker

import (
	"slices"

	"github.com/stella-ops/stella"
)

// holdings is what the record knows of networks and volumes that no label of
// theirs can say: labels can not be changed once a thing is made. What puts and
// removes networks and volumes changes it in memory; whoever called writes the
// record afterwards, where it changed. It is a stored format.
type holdings struct {
	// Unlabelled are the networks and volumes of this target that have no labels
	// of it, as they were last applied: external ones and adopted ones.
	Unlabelled []holding `json:"unlabelled,omitempty"`
	// Retired are volumes that are not in use, by their names on the engine. They
	// and their data stay where they are. Sorted.
	Retired []string `json:"retired,omitempty"`
	// Given are driver options of networks, by the networks' ids, that nobody
	// asked for and that the engine gave when it made them: its own defaults
	// (default-network-opts), which it does not tell.
	Given map[string]map[string]string `json:"given,omitempty"`

	// adopted reports whether a container without our labels is ours all the
	// same, by its id; nil for none.
	adopted func(container string) bool
}

// holding is one network or volume without labels of ours.
type holding struct {
	Resource stella.Resource `json:"resource"`
	// EngineID is the id of an adopted network: another one of its name is not
	// ours. Empty for external ones and volumes, which have names only.
	EngineID string `json:"engineId,omitempty"`
}

func (h *holdings) find(id stella.ResourceID) (holding, bool) {
	i := slices.IndexFunc(h.Unlabelled, func(x holding) bool { return x.Resource.ID == id })
	if i < 0 {
		return holding{}, false
	}
	return h.Unlabelled[i], true
}

// keep remembers a network or volume without labels of ours, in the place of
// what was remembered under its resource.
func (h *holdings) keep(x holding) {
	h.forget(x.Resource.ID)
	h.Unlabelled = append(h.Unlabelled, x)
}

func (h *holdings) forget(id stella.ResourceID) {
	h.Unlabelled = slices.DeleteFunc(h.Unlabelled, func(x holding) bool { return x.Resource.ID == id })
}

// retire remembers that a volume is not in use any more; unretire that it is.
func (h *holdings) retire(name string) {
	if i, found := slices.BinarySearch(h.Retired, name); !found {
		h.Retired = slices.Insert(h.Retired, i, name)
	}
}

func (h *holdings) unretire(name string) {
	h.Retired = slices.DeleteFunc(h.Retired, func(n string) bool { return n == name })
}

// give remembers what the engine gave to a network by itself.
func (h *holdings) give(network string, options map[string]string) {
	if len(options) == 0 {
		return
	}
	if h.Given == nil {
		h.Given = map[string]map[string]string{}
	}
	h.Given[network] = options
}
