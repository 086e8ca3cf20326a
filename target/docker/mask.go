package docker

import (
	"slices"
	"sync"

	"github.com/moby/moby/api/types/container"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// hidden are the secrets that the target was asked for or was seen to have, so
// that what its programs say can be told without them. The zero value has none.
type hidden struct {
	mu    sync.Mutex
	texts map[string][]string // by where they are from
}

// learn takes the secrets of a resource in the place of those that it had there:
// as desired, or as live.
func (h *hidden) learn(where string, r stella.Resource) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.texts == nil {
		h.texts = map[string][]string{}
	}
	h.texts[where+" "+string(r.ID)] = drift.SecretTexts(r)
}

// mask takes the secrets out of a text.
func (h *hidden) mask(text string) string {
	h.mu.Lock()
	var all []string
	for _, some := range h.texts {
		all = append(all, some...)
	}
	h.mu.Unlock()
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return drift.Mask(text, all)
}

// maskProbes takes the secrets out of what the healthcheck of a container said.
func (h *hidden) maskProbes(c *container.InspectResponse) {
	if c.State == nil || c.State.Health == nil {
		return
	}
	for _, one := range c.State.Health.Log {
		if one != nil {
			one.Output = h.mask(one.Output)
		}
	}
}
