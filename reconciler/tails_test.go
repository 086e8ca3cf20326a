package reconciler

import (
	"testing"

	"github.com/stella-ops/stella"
)

func TestSecretsAreMaskedWhereverTheyStand(t *testing.T) {
	live := stella.State{Resources: []stella.Resource{{
		Fields: map[string]any{
			"environment": map[string]any{"TOKEN": "hunter2", "a/b": "slashed"},
			"command":     []any{"serve", "--password=hunter2000"},
			"labels":      map[string]any{"one": "label-1"},
			"user":        "root",
		},
		Secrets: []string{"/environment/TOKEN", "/environment/a~1b", "/command/1", "/labels", "/nothing"},
	}}}
	for text, want := range map[string]string{
		"token hunter2, slashed":             "token [secret], [secret]",
		"started with --password=hunter2000": "started with [secret]",
		"label-1 as root":                    "[secret] as root",
	} {
		if got := masked(text, live); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
