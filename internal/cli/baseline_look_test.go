package cli

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestVerifyOfOneEnvironmentIsAsShowOfIt: a script that asks for one environment
// reads the same members of both.
func TestVerifyOfOneEnvironmentIsAsShowOfIt(t *testing.T) {
	f := newFake()
	f.agreesNot = true
	for _, args := range []string{"baseline show production", "baseline verify production", "baseline verify --env production"} {
		var doc struct {
			Baseline *struct{ Deployment string }
			OK       *bool
			Findings []string
		}
		got := f.invoke(t, append(strings.Fields(args), "-o", "json")...)
		if err := json.Unmarshal([]byte(got.stdout), &doc); err != nil {
			t.Fatalf("%s: %v", args, err)
		}
		if doc.Baseline == nil || doc.Baseline.Deployment != "production-1" || doc.OK == nil || *doc.OK || len(doc.Findings) != 1 || got.code != 1 {
			t.Errorf("%s: exit code %d, %+v", args, got.code, doc)
		}
	}
	var all map[string]any
	if err := json.Unmarshal([]byte(f.invoke(t, "baseline", "verify", "--all", "-o", "json").stdout), &all); err != nil || all["ok"] != nil || all["baselines"] == nil {
		t.Errorf("%v: %v", err, all)
	}
}

// TestVerifyTakesEveryNameOnce, wherever it is said, and no other.
func TestVerifyTakesEveryNameOnce(t *testing.T) {
	f := newFake()
	for args, want := range map[string]string{
		"baseline verify production":                             "production",
		"baseline verify production production --env production": "production",
		"baseline verify production --env staging":               "production staging",
		"baseline verify --all":                                  "",
	} {
		f.verified = nil
		f.invoke(t, strings.Fields(args)...)
		if got := strings.Join(f.verified, " "); got != want {
			t.Errorf("%s: verified %q, want %q", args, got, want)
		}
	}
	for _, args := range []string{"baseline verify", "baseline verify production --all", "baseline verify --env production --all", "baseline verify Not/A/Name"} {
		if got := f.invoke(t, strings.Fields(args)...); got.code != exitUnknown || got.stdout != "" {
			t.Errorf("%s: exit code %d: %s", args, got.code, got.stderr)
		}
	}
}
