package reconciler_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

const composePath = "envs/prod/app/compose.yaml"

// composeWith is the world's Compose file with other variables of the service.
func composeWith(variables ...string) string {
	return "services:\n  web:\n    image: r.example.com/shop/web\n    environment:\n      " + strings.Join(variables, "\n      ") + "\n"
}

func releaseOf(version, level string) string {
	return "apiVersion: stella/v1\nkind: Release\nversion: " + version + "\ncomponents:\n  web: r.example.com/shop/web:" + version + "@" + string(digestOf(version)) + "\nvariables: {LEVEL: " + level + "}\n"
}

func (w *world) seeded(message string, files map[string]string) string {
	w.t.Helper()
	return gittest.SeedRef(w.t, w.bare, gittest.Branch, message, files)
}

// show is a file as the branch has it.
func (w *world) show(path string) string {
	w.t.Helper()
	return gittest.Run(w.t, gittest.Dir(w.bare), "show", "main:"+path)
}

func (w *world) undo(commit string, o reconciler.Options) (reconciler.Outcome, error) {
	return w.Rollback(w.t.Context(), reconciler.RollbackRequest{Environment: prod, Commit: commit, Options: o})
}

// variable is what a service's environment on machine a has.
func (w *world) variable(name string) string {
	w.t.Helper()
	state, err := w.machines["a"].Observe(w.t.Context())
	if err != nil || len(state.Resources) == 0 {
		w.t.Fatalf("%+v, %v", state, err)
	}
	env, _ := state.Resources[0].Fields["environment"].(map[string]any)
	v, _ := env[name].(string)
	return v
}

func TestUndoingOneCommitKeepsWhatCameAfterIt(t *testing.T) {
	w := newWorld(t)
	w.seeded("More variables", map[string]string{composePath: composeWith("LEVEL: ${LEVEL}", "FIRST: '1'", "LAST: '2'")})
	w.reconcile()
	bad := w.seeded("Debug all of it\n\nFor a day.", map[string]string{composePath: composeWith("LEVEL: debug", "FIRST: '1'", "LAST: '2'")})
	w.reconcile()
	w.mustDeploy("b") // later, and to stay
	w.seeded("Add a variable", map[string]string{composePath: composeWith("LEVEL: debug", "FIRST: '1'", "LAST: '2'", "KEPT: 'yes'")})
	w.reconcile()
	dry, err := w.undo(bad, reconciler.Options{DryRun: true})
	if err != nil || len(dry.Plan.Findings) > 0 {
		t.Fatalf("%+v, %v", dry.Plan, err)
	}
	if f := dry.Plan.Files; len(f) != 1 || f[0].Path != composePath || f[0].Op != "modify" ||
		!strings.Contains(f[0].Diff, "\n-      LEVEL: debug\n+      LEVEL: ${LEVEL}\n") {
		t.Errorf("files %+v", f)
	}
	if len(dry.Plan.Warnings) != 1 || !strings.Contains(dry.Plan.Warnings[0], "never verified") {
		t.Errorf("warnings: %q", dry.Plan.Warnings)
	}
	out, err := w.undo(bad[:9], reconciler.Options{Reason: "too loud", Shown: dry.Plan})
	if err != nil || out.Deployment.Status != stella.Succeeded {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	if w.runs() != "bb" || w.variable("LEVEL") != "info" || w.variable("KEPT") != "yes" {
		t.Errorf("runs %s, LEVEL=%s, KEPT=%s", w.runs(), w.variable("LEVEL"), w.variable("KEPT"))
	}
	if d := out.Deployment; d.Kind != stella.KindRollback || d.Restores != "" || !cmp.Equal(d.Reverts, []string{bad}) {
		t.Errorf("recorded as %+v", d)
	}
	want := "Revert \"Debug all of it\"\n\nThis reverts commit " + bad + ".\n\nStella-Environment: prod\nStella-Reason: too loud"
	if diff := cmp.Diff(want, gittest.Run(t, gittest.Dir(w.bare), "log", "-1", "--format=%B", "main")); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	w.wantSameAsGit(bad)
	w.reconcile()
	if w.variable("LEVEL") != "info" {
		t.Error("the next pass brought it back")
	}
	w.seeded("Debug again", map[string]string{composePath: strings.Replace(w.show(composePath), "${LEVEL}", "debug", 1) + "\n"})
	if out := w.reconcile(); out.Sync != stella.Held {
		t.Errorf("what was undone came back: %+v", out)
	}
}

// wantSameAsGit compares the branch's app with what git revert makes of the
// commit before it.
func (w *world) wantSameAsGit(commit string, more ...string) {
	w.t.Helper()
	clone := filepath.Join(w.t.TempDir(), "c")
	gittest.Run(w.t, "", "clone", "-q", w.bare, clone)
	gittest.Run(w.t, clone, "checkout", "-q", "HEAD^")
	gittest.Run(w.t, clone, append(append([]string{"revert", "--no-edit", "--strategy=recursive", "-X", "no-renames"}, more...), commit)...)
	ours := gittest.Run(w.t, clone, "rev-parse", "origin/main:envs/prod/app")
	if gits := gittest.Run(w.t, clone, "rev-parse", "HEAD:envs/prod/app"); gits != ours {
		w.t.Errorf("git revert makes another tree of it:\n%s", gittest.Run(w.t, clone, "diff", "HEAD", "origin/main", "--", "envs/prod/app"))
	}
}

func TestAnUndoThatConflictsIsRefusedWithTheHunksAndTheChoice(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	bad := w.seeded("Debug", map[string]string{releasePath: releaseOf("a", "debug\x1b[2J")})
	w.seeded("Trace", map[string]string{releasePath: releaseOf("a", "trace")})
	w.reconcile()
	head := gittest.Ref(t, w.bare, gittest.Branch)
	out, err := w.undo(bad, reconciler.Options{})
	if !errors.Is(err, stella.ErrRefused) || out.Plan == nil || out.Deployment != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	if len(out.Plan.Findings) != 1 || out.Plan.Findings[0].Code != "revert-conflict" || !strings.Contains(out.Plan.Findings[0].Message, "(line 6)") {
		t.Errorf("findings: %+v", out.Plan.Findings)
	}
	want := []reconciler.RevertConflict{{
		Path: releasePath, Why: "lines", Message: out.Plan.Findings[0].Message,
		Hunks: []reconciler.ConflictHunk{{
			Now:    reconciler.ConflictSide{Line: 6, Lines: []string{"variables: {LEVEL: trace}"}},
			Commit: reconciler.ConflictSide{Line: 6, Lines: []string{`variables: {LEVEL: debug\u001B[2J}`}},
			Before: reconciler.ConflictSide{Line: 6, Lines: []string{"variables: {LEVEL: info}"}},
		}},
	}}
	if diff := cmp.Diff(want, out.Plan.Conflicts); diff != "" {
		t.Errorf("conflicts (-want +got):\n%s", diff)
	}
	fix := out.Plan.Findings[0].Fix
	if !strings.Contains(fix, "stella rollback prod --to prod-1' ") || stella.Hint(err) != fix {
		t.Errorf("fix: %s", fix)
	}
	if now := gittest.Ref(t, w.bare, gittest.Branch); now != head {
		t.Error("it pushed something")
	}
	w.wantHistory("prod-1 deploy a succeeded\nprod-2 deploy a succeeded\n")
	w.byHand(fix)
}

// byHand does what the way out says, as a person would, and resolves in favour
// of what was before.
func (w *world) byHand(fix string) {
	w.t.Helper()
	clone := filepath.Join(w.t.TempDir(), "c")
	gittest.Run(w.t, "", "clone", "-q", w.bare, clone)
	command := strings.Split(fix[strings.Index(fix, "'git diff"):], "'")[1]
	cmd := exec.CommandContext(w.t.Context(), "sh", "-c", command)
	cmd.Dir, cmd.Env = clone, gittest.Environ()
	if said, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(said), "conflict") {
		w.t.Fatalf("%s: %v\n%s", command, err, said)
	}
	text, err := os.ReadFile(filepath.Join(clone, releasePath))
	if err != nil || !strings.Contains(string(text), "<<<<<<<") || !strings.Contains(string(text), "LEVEL: info") {
		w.t.Fatalf("%q, %v", text, err)
	}
	if err := os.WriteFile(filepath.Join(clone, releasePath), []byte(releaseOf("a", "info")), 0o600); err != nil {
		w.t.Fatal(err)
	}
	gittest.Run(w.t, clone, "commit", "-qam", "by hand")
	gittest.Run(w.t, clone, "push", "-q")
	if out := w.reconcile(); out.Sync != stella.Synced || w.variable("LEVEL") != "info" {
		w.t.Errorf("%+v", out)
	}
}

func TestACommitOfTwoEnvironmentsIsUndoneInOne(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	staging := "envs/staging/app/release.yaml"
	bad := w.seeded("Debug everywhere", map[string]string{
		releasePath: releaseOf("a", "debug"), staging: strings.Replace(releaseOf("a", "debug"), "a@", "a@", 1), "notes.txt": "x\n",
	})
	w.reconcile()
	w.seeded("Later", map[string]string{composePath: composeWith("LEVEL: ${LEVEL}", "KEPT: 'yes'")})
	w.reconcile()
	out, err := w.undo("commit:"+bad, reconciler.Options{})
	if err != nil || out.Deployment.Status != stella.Succeeded || w.variable("LEVEL") != "info" {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	if got := w.show(staging); !strings.Contains(got, "debug") {
		t.Errorf("staging was undone, too: %s", got)
	}
	message := gittest.Run(t, gittest.Dir(w.bare), "log", "-1", "--format=%B", "main")
	if !strings.Contains(message, "\nThis reverts commit "+bad+" in envs/prod.\n") {
		t.Errorf("message:\n%s", message)
	}
	if got := strings.Join(out.Plan.Warnings, "\n"); !strings.Contains(got, "also changed notes.txt, envs/staging: that is not undone") {
		t.Errorf("warnings: %s", got)
	}
}

func TestAMergeIsUndoneAgainstItsFirstParent(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	dir := gittest.Dir(w.bare)
	gittest.Run(t, dir, "update-ref", "refs/heads/side", "main")
	gittest.SeedRef(t, w.bare, "refs/heads/side", "one", map[string]string{releasePath: releaseOf("a", "debug")})
	gittest.SeedRef(t, w.bare, "refs/heads/side", "two", map[string]string{composePath: composeWith("LEVEL: ${LEVEL}", "SIDE: 'yes'")})
	w.seeded("on main", map[string]string{"envs/prod/app/config/motd": "hello\n"})
	clone := filepath.Join(t.TempDir(), "c")
	gittest.Run(t, "", "clone", "-q", w.bare, clone)
	gittest.Run(t, clone, "merge", "-q", "--no-ff", "-m", "Merge side", "origin/side")
	gittest.Run(t, clone, "push", "-q", "origin", "HEAD:main")
	bad := gittest.Ref(t, w.bare, gittest.Branch)
	w.seeded("later", map[string]string{"envs/prod/app/config/motd": "hello again\n"})
	w.reconcile()
	if w.variable("LEVEL") != "debug" || w.variable("SIDE") != "yes" {
		t.Fatalf("LEVEL=%s SIDE=%s", w.variable("LEVEL"), w.variable("SIDE"))
	}
	out, err := w.undo(bad, reconciler.Options{})
	if err != nil || out.Deployment.Status != stella.Succeeded {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	if w.variable("LEVEL") != "info" || w.variable("SIDE") != "" || w.show("envs/prod/app/config/motd") != "hello again" {
		t.Errorf("LEVEL=%s SIDE=%s", w.variable("LEVEL"), w.variable("SIDE"))
	}
	message := gittest.Run(t, dir, "log", "-1", "--format=%B", "main")
	if !strings.Contains(message, "This reverts commit "+bad+", reversing\nchanges made to "+gittest.Run(t, dir, "rev-parse", bad+"^1")+".") {
		t.Errorf("message:\n%s", message)
	}
	w.wantSameAsGit(bad, "-m", "1")
}

func TestWhatCanNotBeUndoneIsSaidBeforeAnythingIsTouched(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	first := gittest.Ref(t, w.bare, gittest.Branch)
	bad := w.seeded("Debug", map[string]string{releasePath: releaseOf("a", "debug"), "envs/prod/app/config/new": "new\n"})
	w.seeded("Undone by hand", map[string]string{releasePath: releaseOf("a", "info"), "envs/prod/app/config/new": ""})
	moved := w.seeded("Add a file", map[string]string{"envs/prod/app/config/new": "moved\n"})
	w.seeded("Move it", map[string]string{"envs/prod/app/config/new": "", "envs/prod/app/config/newer": "moved\n"})
	beside := w.seeded("Elsewhere", map[string]string{"notes.txt": "x\n"})
	onASide := gittest.SeedRef(t, w.bare, "refs/heads/side", "side", map[string]string{releasePath: releaseOf("b", "info")})
	w.reconcile()
	head, history := gittest.Ref(t, w.bare, gittest.Branch), w.history()
	for name, c := range map[string]struct {
		commit string
		class  error
		want   string
	}{
		"it is undone already":          {bad, stella.ErrRefused, "nothing to undo"},
		"what it added was moved":       {moved, stella.ErrRefused, "it was moved to config/newer"},
		"it changed other things":       {beside, stella.ErrRefused, "changed nothing in envs/prod/app"},
		"it is not in the history":      {onASide, stella.ErrNotFound, "in the history of"},
		"its beginning is not, either":  {onASide[:12], stella.ErrNotFound, "in the history of"},
		"nobody has it":                 {strings.Repeat("1", 40), stella.ErrNotFound, "in the history of"},
		"it is no commit":               {"HEAD~1", stella.ErrInvalid, "hexadecimal"},
		"nothing would be left":         {first, stella.ErrRefused, "cannot undo commit"},
		"a few digits are not a commit": {bad[:4], stella.ErrInvalid, "7 to 40"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := w.undo(c.commit, reconciler.Options{})
			if !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.want) || stella.Hint(err) == "" || out.Deployment != nil {
				t.Errorf("%+v\n%v\nhint: %s", out, err, stella.Hint(err))
			}
		})
	}
	if now := gittest.Ref(t, w.bare, gittest.Branch); now != head || w.history() != history {
		t.Error("something was touched")
	}
}

func TestAnUndoMeetsACommitThatComesInBetween(t *testing.T) {
	for name, c := range map[string]struct {
		path, text string
		refused    bool
	}{
		"to another environment": {"envs/staging/app/release.yaml", releaseOf("b", "info"), false},
		"to this one":            {composePath, composeWith("LEVEL: ${LEVEL}", "LATE: 'yes'"), true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.reconcile()
			bad := w.seeded("Debug", map[string]string{releasePath: releaseOf("a", "debug")})
			w.reconcile()
			w.seeded("Later", map[string]string{"envs/prod/app/config/motd": "hello\n"})
			w.reconcile()
			var between string
			e := w.engine("bob", func(ev reconciler.Event) {
				if _, ok := ev.(reconciler.Started); ok && between == "" {
					between = w.seeded("In between", map[string]string{c.path: c.text})
				}
			})
			out, err := e.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Commit: bad})
			if between == "" {
				t.Fatal("nothing came in between")
			}
			if c.refused {
				if !errors.Is(err, stella.ErrConflict) || out.Deployment.Status != stella.Errored || gittest.Ref(t, w.bare, gittest.Branch) != between {
					t.Errorf("%+v, %v", out.Deployment, err)
				}
				return
			}
			if err != nil || out.Deployment.Status != stella.Succeeded || w.variable("LEVEL") != "info" {
				t.Fatalf("%+v, %v", out.Deployment, err)
			}
			if parent := gittest.Run(t, gittest.Dir(w.bare), "rev-parse", "main^"); parent != between {
				t.Errorf("the commit is on %s, want %s", parent, between)
			}
		})
	}
}

func TestAttributesThatAskForAnotherMergeAreRespected(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	bad := w.seeded("Debug", map[string]string{releasePath: releaseOf("a", "debug"), ".gitattributes": "*.yaml merge=ours\n"})
	w.seeded("Version", map[string]string{releasePath: releaseOf("b", "debug")})
	w.reconcile()
	out, err := w.undo(bad, reconciler.Options{DryRun: true})
	if err != nil || len(out.Plan.Conflicts) != 1 || out.Plan.Conflicts[0].Why != "attributes" {
		t.Errorf("%+v, %v", out.Plan, err)
	}
}

func TestAnUndoCrossesNothingUnasked(t *testing.T) {
	w := newWorld(t, "rollout:", "irreversible: [{version: b, reason: drops a column}]\nrollout:")
	w.reconcile()
	w.mustDeploy("b")
	deployed := w.git("rev-parse", "main")
	_, err := w.undo(deployed, reconciler.Options{})
	if want := "--commit " + deployed[:12] + " --cross b"; !errors.Is(err, stella.ErrRefused) || !strings.Contains(stella.Hint(err), want) || w.runs() != "bb" {
		t.Fatalf("%v, hint %q, want %q in it, runs %s", err, stella.Hint(err), want, w.runs())
	}
	out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Commit: deployed, Scope: reconciler.Scope{Cross: []string{"b"}}})
	if err != nil || out.Deployment.Status != stella.Succeeded || w.runs() != "aa" {
		t.Fatalf("told to cross it: %+v, %v, runs %s", out.Deployment, err, w.runs())
	}
	debug := w.seeded("Debug", map[string]string{composePath: composeWith("LEVEL: debug")})
	w.reconcile()
	if _, err := w.undo(debug, reconciler.Options{}); err != nil {
		t.Errorf("what touches no release crosses none: %v", err)
	}
}
