package configrepo

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// TestABaselineIsReadBackAsItWasWritten, whatever is in it, and is the same bytes
// each time.
func TestABaselineIsReadBackAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[0-9a-f]{40}`)
		want := &Baseline{
			Environment: "production", Deployment: "production-" + rapid.StringMatching(`[1-9][0-9]{0,5}`).Draw(t, "deployment"),
			Commit: id.Draw(t, "commit"), Tree: rapid.OneOf(id, rapid.StringMatching(`[0-9]{40}`), rapid.StringMatching(`[0-9]{20}e[0-9]{19}`)).Draw(t, "tree"),
			Release:    rapid.SampledFrom([]string{"", "2.3.0", "1", "1e3", "true", "0x1f", "2026-01-01"}).Draw(t, "release"),
			Components: map[string]stella.Artifact{}, Desired: digestA,
			CapturedAt: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "at"), 0).UTC(),
			CapturedBy: safe.Clip(rapid.StringN(0, 40, 200).Draw(t, "by"), 299), Reason: safe.Clip(rapid.StringN(0, 60, 300).Draw(t, "reason"), 499),
		}
		for _, name := range rapid.SliceOfN(rapid.StringMatching(`[a-z][a-z0-9]{0,8}`), 1, 4).Draw(t, "components") {
			a, err := stella.ParseArtifact("registry.example.com:5000/shop/" + name + ":1.0@" + digestB)
			if err != nil {
				t.Fatal(err)
			}
			want.Components[name] = a
		}
		if dirs := rapid.SliceOfN(rapid.SampledFrom([]string{"shared/base", "shared/a-b", "no", "shared/1", "1e3", "lib/true"}), 0, 3).Draw(t, "shared"); len(dirs) > 0 {
			want.Shared = map[string]string{}
			for _, dir := range dirs {
				want.Shared[dir] = id.Draw(t, "tree of "+dir)
			}
		}
		text, err := EncodeBaseline(*want)
		if err != nil {
			t.Fatalf("%v\n%+v", err, want)
		}
		got, err := ReadBaseline(t.Context(), newMapTree(map[string]string{"baselines/production.yaml": string(text)}), &Project{}, "production")
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("read back (-want +got):\n%s\n%s", diff, text)
		}
		again, err := EncodeBaseline(*got)
		if err != nil || string(again) != string(text) {
			t.Fatalf("it is not one form: %v\n%s", err, cmp.Diff(string(text), string(again)))
		}
	})
}

func TestWhatIsNoBaselineIsNotWritten(t *testing.T) {
	_, err := EncodeBaseline(Baseline{Environment: "production", Deployment: "production-0", Reason: "two\nlines"})
	for _, field := range []string{"deployment", "tree", "components", "reason"} {
		if err == nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
