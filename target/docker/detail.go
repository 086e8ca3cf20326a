package docker

import (
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/stella-ops/stella/internal/safe"
)

// maxDetail bounds the output of a probe, in runes.
const maxDetail = 200

// detail says in words why a container is not simply running and healthy; empty
// where it is. It is pure.
func detail(c container.InspectResponse) string {
	if c.State == nil {
		return "the engine does not say what it is doing"
	}
	switch s := c.State; {
	case s.Restarting:
		return fmt.Sprintf("restarts again and again (%d times): %s", c.RestartCount, ending(c))
	case s.Paused:
		return "paused"
	case s.Running:
		return sickness(s.Health)
	case s.Status == container.StateCreated:
		if s.Error != "" {
			return "could not be started: " + safe.Clip(s.Error, maxDetail)
		}
		return "was never started"
	case s.Dead:
		return "dead: the engine could not remove it"
	}
	return ending(c)
}

// ending says how a container's process ended last.
func ending(c container.InspectResponse) string {
	s := c.State
	text := exit(s.ExitCode)
	switch {
	case s.OOMKilled:
		text = fmt.Sprintf("out of memory (exited with %d)", s.ExitCode)
	case s.Error != "":
		text = "could not be started: " + safe.Clip(s.Error, maxDetail)
	}
	if at := engineStamp(s.FinishedAt); !at.IsZero() {
		text += " at " + at.UTC().Format(time.RFC3339)
	}
	return text
}

// signals are those that end processes in practice.
//
//nolint:gochecknoglobals // a table
var signals = map[int]string{
	1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 11: "SEGV", 13: "PIPE", 14: "ALRM", 15: "TERM",
}

// exit is an exit status for people. From 128 on it is that of a signal, by the
// convention that the engine keeps to as well.
func exit(status int) string {
	if name, ok := signals[status-128]; ok {
		return fmt.Sprintf("killed by signal %d, %s (exited with %d)", status-128, name, status)
	}
	return fmt.Sprintf("exited with %d", status)
}

// sickness says what the healthcheck of a running container last said; empty
// where it is content.
func sickness(h *container.Health) string {
	if h == nil || h.Status == container.Healthy || h.Status == container.NoHealthcheck || len(h.Log) == 0 || h.FailingStreak == 0 {
		return ""
	}
	last := h.Log[len(h.Log)-1]
	text := fmt.Sprintf("%d probes failed", h.FailingStreak)
	if h.FailingStreak == 1 {
		text = "1 probe failed"
	}
	if last == nil {
		return text
	}
	text += fmt.Sprintf(", the last at %s with %d", last.Start.UTC().Format(time.RFC3339), last.ExitCode)
	if said := strings.TrimSpace(last.Output); said != "" {
		text += ": " + safe.Clip(said, maxDetail)
	}
	return text
}

// probeCommand is the command of a container's healthcheck as the engine's
// events have it; empty where there is none.
func probeCommand(c container.InspectResponse) string {
	if c.Config == nil || c.Config.Healthcheck == nil || len(c.Config.Healthcheck.Test) < 2 {
		return ""
	}
	test := c.Config.Healthcheck.Test
	words := test[1:]
	if test[0] == "CMD-SHELL" {
		shell := c.Config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		words = append(append([]string{}, shell...), test[1:]...)
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

// engineStamp is a time as inspection has it; zero for never.
func engineStamp(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() < 2000 {
		return time.Time{}
	}
	return at
}
