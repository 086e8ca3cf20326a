package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/stella-ops/stella/reconciler"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file below testdata/golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", file, diff)
	}
}

// documentCase is a command line that prints a document.
type documentCase struct {
	name string
	args string
	code int
	fake func(*fakeEngine)
}

func documentCases() []documentCase {
	return append(append(diffCases(), detectCases()...), []documentCase{
		{"env-list", "orch env list", 0, nil},
		{"env-status", "orch env status production --detailed", 0, nil},
		{"why", "why production", 0, nil},
		{"plan", "plan production", 1, func(f *fakeEngine) { f.drifted = true }},
		{"plan-nothing", "plan production", 0, nil},
		{"rollback-dry-run", "rollback production --dry-run", 0, func(f *fakeEngine) { f.reverts = []string{commit2} }},
		{"rollback-conflict", "rollback production --commit " + commit1 + " --dry-run", 5, func(f *fakeEngine) { f.reverts, f.conflict = []string{commit1}, true }},
		{"rollback", "rollback production --reason broken", 0, nil},
		{"env-reset", "orch env reset production --to-baseline --reason wrecked", 0, nil},
		{"adopt", "adopt production --reason tried", 0, nil},
		{"adopt-dry-run", "adopt production --dry-run", 0, nil},
		{"deploy", "deploy production --artifact " + newImage, 0, nil},
		{"deploy-failed", "deploy production --artifact " + newImage, 3, func(f *fakeEngine) { f.fails, f.rollsBack = "failed", true }},
		{"reconcile", "reconcile production", 0, nil},
		{"drift-ignore", "drift ignore production service/api /environment/LEVEL --reason raised", 0, nil},
		{"drift-ignore-dry-run", "drift ignore production service/api /environment/LEVEL --reason raised --dry-run", 0, nil},
		{"drift-adopt", "drift adopt production api /environment/LEVEL", 0, nil},
		{"rollback-ready", "rollback ready", 0, nil},
		{"rollback-ready-blocked", "rollback ready production", 1, func(f *fakeEngine) {
			f.findings = []reconciler.Finding{{
				Code: reconciler.FindingArtifact, Message: oldImage + " can not be had: the registry answers 404 for its manifest",
				Fix: "push it again, or choose another release with 'stella rollback production --to production-2'",
			}}
		}},
		{"rollback-ready-nowhere", "rollback ready --env production", 1, func(f *fakeEngine) { f.agreesNot = true }},
		{"rollback-ready-unknown", "rollback ready production", 2, func(f *fakeEngine) { f.away = "the ledger does not descend from where it was" }},
		{"rollback-status", "rollback status production", 0, nil},
		{"rollback-status-no", "rollback status production", 1, func(f *fakeEngine) { f.agreesNot = true }},
		{"rollback-status-named", "rollback status production-1", 0, nil},
		{"rollback-status-running", "rollback status production", 1, (*fakeEngine).running},
		{"rollback-status-followed", "rollback status production --follow", 0, (*fakeEngine).running},
		{"rollback-status-dead", "rollback status production-3", 1, func(f *fakeEngine) { f.running(); f.dead = true }},
		{"rollback-trace", "rollback trace production", 0, nil},
		{"rollback-trace-verbose", "rollback trace production-2 --verbose", 0, func(f *fakeEngine) { f.broken() }},
		{"rollback-trace-dead", "rollback trace production", 0, func(f *fakeEngine) { f.running(); f.dead = true }},
		{"deployments-list", "orch deployments list production", 0, nil},
		{"deployments-current", "orch deployments current production", 0, nil},
		{"deployments-show", "orch deployments show production-1", 0, nil},
		{"locks-list", "orch locks list", 0, func(f *fakeEngine) { f.lock(false) }},
		{"locks-none", "orch locks list", 0, nil},
		{"locks-acquire", "orch locks acquire production --reason migration", 0, nil},
		{"locks-release", "orch locks release production", 0, func(f *fakeEngine) { f.lock(true) }},
		{"drift-history", "drift history production", 0, (*fakeEngine).drifts},
		{"drift-history-none", "drift history production", 0, nil},
		{"why-drift", "why production", 0, (*fakeEngine).drifts},
		{"artifact", "orch artifacts get " + newImage, 0, nil},
		{"artifact-check", "orch artifacts get " + newImage + " --check", 0, nil},
		{"artifact-missing", "orch artifacts get " + newImage + " --check --deep", 1, func(f *fakeEngine) { f.agreesNot = true }},
		{"artifact-unknown", "orch artifacts get " + newImage + " --check", 2, func(f *fakeEngine) { f.away = "status 401 Unauthorized" }},
		{"holds-list", "orch holds list", 0, nil},
		{"holds-release", "orch holds release production --reason fixed", 0, nil},
		{"db-verify", "orch db verify", 0, nil},
		{"db-verify-bad", "orch db verify production", 1, func(f *fakeEngine) { f.agreesNot = true }},
		{"health-check", "orch health-check production", 1, func(f *fakeEngine) { f.fails = "failed" }},
		{"env-stop", "orch env stop production", 0, nil},
		{"baseline-capture", "baseline capture production --reason better", 0, nil},
		{"baseline-capture-unsaid", "baseline capture production", 0, nil},
		{"baseline-capture-nothing", "baseline capture production --reason proven", 0, func(f *fakeEngine) { f.agreesNot = true }},
		{"baseline-capture-dry-run", "baseline capture production --reason better --dry-run", 0, nil},
		{"baseline-capture-refused", "baseline capture production --reason better --dry-run", 5, func(f *fakeEngine) {
			f.findings = []reconciler.Finding{
				{Code: "unhealthy", Target: "web-1", Message: "web-1: api is exited: status 1", Fix: "run 'stella orch env status production --detailed'"},
				{Code: "drifted", Target: "web-1", Message: "web-1: it drifted: service/api/image is modified", Fix: "run 'stella orch env config diff production' to see it, then heal ('stella reconcile production'), adopt or ignore it"},
			}
		}},
		{"baseline-capture-review", "baseline capture production --reason better --pr", 8, nil},
		{"baseline-show", "baseline show production", 0, nil},
		{"baseline-show-bad", "baseline show production", 1, func(f *fakeEngine) { f.agreesNot = true }},
		{"baseline-verify", "baseline verify --all", 0, nil},
		{"baseline-verify-bad", "baseline verify production", 1, func(f *fakeEngine) { f.agreesNot = true }},
		{"baseline-verify-unknown", "baseline verify production", 2, func(f *fakeEngine) { f.away = "registry registry.example.com: no answer for 30s: unreachable" }},
		{"baseline-list", "baseline list", 0, nil},
		{"baseline-list-history", "baseline list production", 0, nil},
		{"baseline-diff", "baseline diff production", 1, func(f *fakeEngine) { f.drifted = true }},
		{"baseline-diff-same", "baseline diff production", 0, nil},
		{"version", "version", 0, nil},
		{"error-not-found", "why nowhere", 2, nil},
		{"error-locked", "rollback production", 6, func(f *fakeEngine) { f.lock(false) }},
		{"error-usage", "deploy production", 2, nil},
		{"error-refused", "rollback production", 5, func(f *fakeEngine) { f.findings = standsInTheWay() }},
	}...)
}

// standsInTheWay is more than one thing.
func standsInTheWay() []reconciler.Finding {
	return []reconciler.Finding{
		{Code: reconciler.FindingArtifact, Message: oldImage + " can not be had: web-1 does not keep it; registry registry.example.com: not found: status 404 Not Found", Fix: "run 'stella orch deployments list production' and name another one with --to"},
		{Code: reconciler.FindingUnreachable, Target: "web-2", Message: "web-2: connect: connection refused: unreachable", Fix: "bring web-2 back, or run the same command without --require-all, which owes it"},
		{Code: reconciler.FindingIrreversible, Message: "release 2.4.0 is irreversible: drops a column", Fix: "run 'stella rollback production --to production-1 --cross 2.4.0' where the older release can live with that"},
	}
}

// TestARefusalPrintsEveryReasonWithItsWayOut, once, and asks nobody anything.
func TestARefusalPrintsEveryReasonWithItsWayOut(t *testing.T) {
	for _, protected := range []bool{false, true} {
		f := newFake()
		f.findings, f.protected = standsInTheWay(), protected
		got := f.with(t, onTerminal(process(t, "rollback", "production"), "production\n"))
		if got.code != exitRefused || got.stdout != "" {
			t.Errorf("exit code %d, stdout %q", got.code, got.stdout)
		}
		for _, one := range standsInTheWay() {
			if strings.Count(got.stderr, one.Message) != 1 || strings.Count(got.stderr, one.Fix) != 1 {
				t.Errorf("%s is not there once, with its way out:\n%s", one.Code, got.stderr)
			}
		}
	}
	f := newFake()
	f.findings = standsInTheWay()
	golden(t, "refusal.txt", f.invoke(t, "rollback", "production").stderr)
	f = newFake()
	f.findings = standsInTheWay()
	dry := f.invoke(t, "rollback", "production", "--dry-run")
	golden(t, "refusal-dry-run.txt", dry.stdout+"--\n"+dry.stderr)
}

func TestDocumentsAreAsTheyWere(t *testing.T) {
	for _, c := range documentCases() {
		t.Run(c.name, func(t *testing.T) {
			got := c.run(t, "-o", "json")
			golden(t, c.name+".json", got.stdout)
		})
	}
}

func (c documentCase) run(t *testing.T, more ...string) result {
	t.Helper()
	f := newFake()
	if c.fake != nil {
		c.fake(f)
	}
	got := f.invoke(t, append(strings.Fields(c.args), more...)...)
	if got.code != c.code {
		t.Fatalf("stella %s: exit code %d, want %d\n%s", c.args, got.code, c.code, got.stderr)
	}
	return got
}

// TestDocumentsKeepTheRules checks what holds for every document: one object
// with schemaVersion first, lists and maps never null, times in UTC to the
// second, and the same members in YAML.
func TestDocumentsKeepTheRules(t *testing.T) {
	utc := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)
	for _, c := range documentCases() {
		t.Run(c.name, func(t *testing.T) {
			got := c.run(t, "-o", "json").stdout
			if !strings.HasPrefix(got, "{\n  \"schemaVersion\": 1,\n") {
				t.Errorf("the document does not begin with its version:\n%.60s", got)
			}
			dec := json.NewDecoder(strings.NewReader(got))
			var doc map[string]any
			if err := dec.Decode(&doc); err != nil {
				t.Fatal(err)
			}
			if dec.More() {
				t.Error("there is more than one document")
			}
			walk("", doc, func(path string, v any) {
				switch v := v.(type) {
				case nil:
					if !nullable(path) {
						t.Errorf("%s is null", path)
					}
				case string:
					if strings.HasSuffix(path, "At") && !utc.MatchString(v) {
						t.Errorf("%s is %q, not a time in UTC", path, v)
					}
				}
			})
			var fromYAML map[string]any
			if err := yaml.Unmarshal([]byte(c.run(t, "-o", "yaml").stdout), &fromYAML); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(doc, fromYAML); diff != "" {
				t.Errorf("JSON and YAML differ (-json +yaml)\n%s", diff)
			}
		})
	}
}

// nullable are the members that docs/json.md calls "or null".
func nullable(path string) bool {
	for _, name := range []string{
		".deployment", ".rollback", ".proposal", ".baseline", ".replaces", ".at", ".error", ".pin", ".lock", ".current", ".last", ".sticker",
		".nextTry", ".driver", ".renewedAt", ".takeoverAt", ".undone[0].at", ".checkedAt", ".readyCheckedAt", ".verifiedAt", ".createdAt",
		".explanation", ".here", ".there", ".comparison", ".ignore", ".observedAt", ".finishedAt", ".endedAt", ".fetchedAt", ".since", ".desired", ".live", ".writtenAt", ".until",
	} {
		if strings.HasSuffix(path, name) {
			return true
		}
	}
	return false
}

func walk(path string, v any, visit func(string, any)) {
	visit(path, v)
	switch v := v.(type) {
	case map[string]any:
		for key, one := range v {
			walk(path+"."+key, one, visit)
		}
	case []any:
		for i, one := range v {
			walk(fmt.Sprintf("%s[%d]", path, i), one, visit)
		}
	}
}

// TestPagesReadAsTheyDid keeps what people read: on a terminal without colour,
// then off one.
func TestPagesReadAsTheyDid(t *testing.T) {
	for _, c := range documentCases() {
		if strings.HasPrefix(c.name, "error-") {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			off := c.run(t)
			fmt.Fprintf(&b, "$ stella %s | cat\n%s\n-- stderr --\n%s", c.args, off.stdout, off.stderr)
			fmt.Fprintf(&b, "\n$ stella %s -o table\n%s", c.args, c.run(t, "-o", "table").stdout)
			fmt.Fprintf(&b, "\n$ stella %s -o wide\n%s", c.args, c.run(t, "-o", "wide").stdout)
			fmt.Fprintf(&b, "\n$ stella %s -o name\n%s", c.args, c.run(t, "-o", "name").stdout)
			golden(t, c.name+".txt", b.String())
		})
	}
}
