package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// The bounds of what is read and said of an engine's recent events. Docker
// keeps 256 of them, Podman all that its log has.
const (
	maxSuspects     = 12
	maxRecentEvents = 2048
	recent          = 24 * time.Hour
	together        = 2 * time.Second // between a cause and the end that it leads to
)

// Suspects names what happened to a resource, as the engine tells it: its recent
// events and what inspection says, as lines for people, the newest first. An
// engine does not know who asked it; a line says what was done, and how it is
// done by hand. Of commands that ran in a container only the program is named:
// arguments may be secret. What happened before the last order ended is no reason
// of what is now, and much of it was the order's own doing. Empty where there is
// no trace.
func (d *Docker) Suspects(ctx context.Context, id stella.ResourceID, _ string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	kind, name, _ := strings.Cut(string(id), "/")
	var lines []string
	s := suspicion{}
	if kind == "service" {
		c, err := d.component(ctx, name)
		if err == nil {
			if why := detail(c); why != "" {
				lines = append(lines, why)
			}
			s.probe, s.current = probeCommand(c), c.ID
		}
	}
	past, err := d.recent(ctx)
	if err != nil {
		return lines, fmt.Errorf("read the engine's events: %w", fault(err))
	}
	for _, m := range past[d.settled(past):] {
		if d.isAbout(m, kind, name, s.current) {
			s.events = append(s.events, m)
		}
	}
	for _, line := range s.lines() {
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines[:min(len(lines), maxSuspects)], nil
}

// recent are the events that the engine still knows, the oldest first.
func (d *Docker) recent(ctx context.Context) ([]events.Message, error) {
	now, err := d.engineTime(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := d.api.Events(ctx, client.EventsListOptions{Since: stamp(now.Add(-recent)), Until: stamp(now)})
	var past []events.Message
	for {
		select {
		case m := <-stream.Messages:
			past = append(past, m)
			if len(past) >= 2*maxRecentEvents {
				past = slices.Delete(past, 0, maxRecentEvents)
			}
		case err := <-stream.Err:
			if err == nil || errors.Is(err, io.EOF) {
				return past, nil
			}
			return past, err
		}
	}
}

// settled is where in the events the last order ended: behind the record that it
// wrote, of whose fence the sticker is. Zero where no event tells.
func (d *Docker) settled(past []events.Message) int {
	for i, m := range slices.Backward(past) {
		labels := m.Actor.Attributes
		if verb, _ := split(m.Action); m.Type != events.ContainerEventType || verb != events.ActionCreate || !d.labelled(labels) || !strings.HasPrefix(labels["name"], d.recordPrefix()) {
			continue
		}
		written, whole := unseal(labels[labelRecord])
		if r := written.Record; whole && r.Sticker != nil && r.Sticker.Fence == r.Fence {
			return i + 1
		}
	}
	return 0
}

// isAbout reports whether an event is of a resource.
func (d *Docker) isAbout(m events.Message, kind, name, current string) bool {
	labels := m.Actor.Attributes
	switch kind {
	case "service":
		switch m.Type {
		case events.ContainerEventType:
			foreign := d.cfg.Project != "" && labels[composeProject] == d.cfg.Project && labels[composeService] == name
			return m.Actor.ID == current || foreign || d.labelled(labels) && labels[labelResource] == "service/"+name
		case events.NetworkEventType:
			return current != "" && labels["container"] == current
		}
	case "network":
		return m.Type == events.NetworkEventType && labels["container"] == "" && d.named(labels["name"], name)
	case "volume":
		return m.Type == events.VolumeEventType && d.named(m.Actor.ID, name)
	case "sticker":
		return m.Type == events.ContainerEventType && d.labelled(labels) && labels[labelRecord] != ""
	}
	return false
}

// named reports whether something on the engine is what the Compose file calls
// by a name.
func (d *Docker) named(onEngine, name string) bool {
	return onEngine == name || onEngine == d.cfg.Project+"_"+name
}

// suspicion is the events of one resource, the oldest first.
type suspicion struct {
	events  []events.Message
	probe   string // command of the healthcheck
	current string // the container's id
}

// lines says what happened, the newest first.
func (s suspicion) lines() []string {
	var out []string
	for i, m := range slices.Backward(s.events) {
		line := s.line(i, m)
		if line == "" {
			continue
		}
		at := time.Unix(0, m.TimeNano)
		if m.TimeNano == 0 {
			at = time.Unix(m.Time, 0)
		}
		line = safe.Clip(line+" at "+at.UTC().Format(time.RFC3339), 300)
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
		if len(out) == maxSuspects {
			break
		}
	}
	return out
}

// line is one event in words; empty for one that says nothing by itself.
func (s suspicion) line(i int, m events.Message) string {
	verb, detail := split(m.Action)
	if m.Type == events.NetworkEventType {
		return s.network(i, m, verb)
	}
	if m.Type == events.VolumeEventType {
		switch verb {
		case events.ActionCreate:
			return "the volume was made"
		case events.ActionDestroy, events.ActionRemove:
			return "the volume was removed (docker volume rm)"
		}
		return ""
	}
	switch verb {
	case events.ActionDie, "died":
		return s.death(i, m)
	case events.ActionKill:
		if !s.follows(i, events.ActionDie) {
			return "signal " + signalName(m.Actor.Attributes["signal"]) + " was sent to it (docker kill)"
		}
	case events.ActionOOM:
		if !s.follows(i, events.ActionDie) {
			return "a process in it ran out of memory"
		}
	case events.ActionHealthStatus:
		if detail == "unhealthy" {
			return "became unhealthy"
		}
	case events.ActionExecStart, "exec":
		if detail != s.probe || detail == "" {
			program, _, _ := strings.Cut(detail, " ")
			return strings.TrimSpace("docker exec " + program)
		}
	case events.ActionExtractToDir:
		return "files were copied into it (docker cp)"
	}
	return s.simple(verb, m)
}

func (s suspicion) simple(verb events.Action, m events.Message) string {
	switch verb {
	case events.ActionCreate:
		if m.Actor.Attributes[labelResource] == "" && m.Actor.Attributes[composeService] != "" {
			return fmt.Sprintf("%s was made by hand (docker compose up)", m.Actor.Attributes["name"])
		}
		return ""
	case events.ActionRestart:
		return "restarted (docker restart)"
	case events.ActionPause:
		return "paused (docker pause)"
	case events.ActionUnPause:
		return "resumed (docker unpause)"
	case events.ActionUpdate:
		return "its limits or its restart policy were changed (docker update)"
	case events.ActionRename:
		return fmt.Sprintf("renamed from %s to %s (docker rename)",
			strings.TrimPrefix(m.Actor.Attributes["oldName"], "/"), m.Actor.Attributes["name"])
	case events.ActionDestroy, events.ActionRemove:
		return fmt.Sprintf("container %s was removed (docker rm)", m.Actor.Attributes["name"])
	}
	return ""
}

// death says how a container died and what led to it.
func (s suspicion) death(i int, m events.Message) string {
	status, err := strconv.Atoi(m.Actor.Attributes["exitCode"])
	how := exit(status)
	if err != nil {
		how = "ended"
	}
	var sent []string
	for _, before := range slices.Backward(s.events[:i]) {
		verb, _ := split(before.Action)
		if before.Actor.ID != m.Actor.ID {
			continue
		}
		if verb == events.ActionDie || verb == events.ActionStart {
			break
		}
		if verb == events.ActionOOM {
			return "out of memory: " + how
		}
		if verb == events.ActionKill {
			sent = append(sent, signalName(before.Actor.Attributes["signal"]))
		}
	}
	slices.Reverse(sent)
	switch {
	case len(sent) > 0 && s.follows(i, events.ActionStop):
		return how + ", stopped through the engine (docker stop)"
	case len(sent) > 0:
		return how + " after signal " + strings.Join(sent, ", ") + " through the engine (docker kill)"
	}
	return how
}

// follows reports whether an event of the same container follows shortly.
func (s suspicion) follows(i int, want events.Action) bool {
	for _, m := range s.events[i+1:] {
		if m.TimeNano-s.events[i].TimeNano > int64(together) {
			return false
		}
		if verb, _ := split(m.Action); verb == want && m.Actor.ID == s.events[i].Actor.ID {
			return true
		}
	}
	return false
}

// network says that a container joined or left a network; not where that only
// came with its start or end.
func (s suspicion) network(i int, m events.Message, verb events.Action) string {
	name := m.Actor.Attributes["name"]
	if m.Actor.Attributes["container"] == "" {
		switch verb {
		case events.ActionCreate:
			return fmt.Sprintf("network %s was made", name)
		case events.ActionDestroy, events.ActionRemove:
			return fmt.Sprintf("network %s was removed (docker network rm)", name)
		}
		return ""
	}
	for j, other := range s.events {
		near := max(other.TimeNano-m.TimeNano, m.TimeNano-other.TimeNano) < int64(together)
		other, _ := split(other.Action)
		if near && (j > i && other == events.ActionStart || j < i && other == events.ActionDie) {
			return ""
		}
	}
	switch verb {
	case events.ActionConnect:
		return fmt.Sprintf("connected to network %s (docker network connect)", name)
	case events.ActionDisconnect:
		return fmt.Sprintf("disconnected from network %s (docker network disconnect)", name)
	}
	return ""
}

// signalName is a signal for people: engines tell of it by number or by name.
func signalName(text string) string {
	if n, err := strconv.Atoi(text); err == nil {
		if name, ok := signals[n]; ok {
			return fmt.Sprintf("%d (%s)", n, name)
		}
	}
	return text
}
