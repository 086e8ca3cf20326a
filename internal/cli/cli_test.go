package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// TestExitCodesAreDocumented holds docs/exit-codes.md against the code: the
// table has exactly these rows.
func TestExitCodesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "exit-codes.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| (.*) \|$`).FindAllStringSubmatch(string(doc), -1) {
		documented[row[1]] = row[2]
	}
	want := map[string]string{}
	for code := range exitCodeLast + 1 {
		want[fmt.Sprint(code)] = exitMeaning(code)
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("code and docs/exit-codes.md differ (-code +docs)\n%s", diff)
	}
}

// TestErrorCodesAreDocumented holds docs/json.md against the classes.
func TestErrorCodesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `error.code` .*$").FindString(string(doc))
	for _, c := range append(classes(), class{code: "usage"}) {
		if !strings.Contains(row, "`"+c.code+"`") {
			t.Errorf("error code %q is not in docs/json.md", c.code)
		}
	}
}

func TestTheWorstCodeIsWhatNeedsAPersonFirst(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "exit-codes.md"))
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	rest := []int{0, 1, 2, 3, 4, 5, 6, 7, 8}
	for code := worst(rest); code != exitDone; code = worst(rest) {
		order = append(order, fmt.Sprint(code))
		for i, c := range rest {
			if c == code {
				rest = append(rest[:i:i], rest[i+1:]...)
				break
			}
		}
	}
	if want := strings.Join(order, ", "); !strings.Contains(strings.Join(strings.Fields(string(doc)), " "), "most needs a person: "+want+".") {
		t.Errorf("docs/exit-codes.md does not have the order %s", want)
	}
}

func TestEveryClassHasItsExitCode(t *testing.T) {
	for _, c := range []struct {
		class error
		code  int
	}{
		{stella.ErrInvalid, 2},
		{stella.ErrNotFound, 2},
		{stella.ErrUnreachable, 2},
		{stella.ErrDenied, 2},
		{stella.ErrTampered, 2},
		{stella.ErrUnsupported, 2},
		{stella.ErrConflict, 5},
		{stella.ErrRefused, 5},
		{stella.ErrLocked, 6},
		{stella.ErrFrozen, 6},
		{stella.ErrFenced, 6},
		{stella.ErrTimeout, 7},
		{stella.ErrUnhealthy, 1},
		{fmt.Errorf("%w: %w", stella.ErrRefused, stella.ErrNotFound), 5},
		{fmt.Errorf("%w: %w", stella.ErrUnreachable, stella.ErrRefused), 5},
		{fmt.Errorf("something else"), 2},
	} {
		a := newApp(t.Context(), process(t))
		if got := a.exitCode(fmt.Errorf("deploy production: %w", c.class)); got != c.code {
			t.Errorf("%v: exit code %d, want %d", c.class, got, c.code)
		}
	}
}

func TestOutcomesHaveTheirExitCodes(t *testing.T) {
	d := func(s stella.Status) *stella.Deployment { return &stella.Deployment{Status: s} }
	for _, c := range []struct {
		name string
		o    reconciler.Outcome
		code int
	}{
		{"nothing to do", reconciler.Outcome{Nothing: true, Sync: stella.Synced}, 0},
		{"verified", reconciler.Outcome{Deployment: d(stella.Succeeded)}, 0},
		{"somebody else carries it out", reconciler.Outcome{Deployment: d(stella.Pending), Detached: true}, 0},
		{"rolled back by itself", reconciler.Outcome{Deployment: d(stella.Failed), Rollback: d(stella.Succeeded)}, 3},
		{"and that did not work", reconciler.Outcome{Deployment: d(stella.Failed), Rollback: d(stella.Failed)}, 4},
		{"pushed for review", reconciler.Outcome{Proposal: &reconciler.Proposal{}}, 8},
		{"verified on a pin", reconciler.Outcome{Deployment: d(stella.Succeeded), Proposal: &reconciler.Proposal{}}, 8},
		{"held", reconciler.Outcome{Sync: stella.Held}, 5},
		{"invalid", reconciler.Outcome{Sync: stella.Invalid}, 2},
		{"partial from before", reconciler.Outcome{Sync: stella.SyncPartial}, 4},
	} {
		if got := exitOfOutcome(c.o); got != c.code {
			t.Errorf("%s: exit code %d, want %d", c.name, got, c.code)
		}
	}
}

// everyCommand calls visit with each command that does something.
func everyCommand(t *testing.T, visit func(*cobra.Command)) {
	t.Helper()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		visit(cmd)
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(newRootCmd(newApp(t.Context(), process(t))))
}

// TestHelpOfEveryCommand: one line, an example, the exit codes; nothing is
// opened for it.
func TestHelpOfEveryCommand(t *testing.T) {
	untouched := func(context.Context, func(reconciler.Event)) (*session, error) {
		t.Error("--help opened the repository")
		return nil, stella.ErrRefused
	}
	n := 0
	everyCommand(t, func(cmd *cobra.Command) {
		n++
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		p := process(t, args...)
		var stdout, stderr strings.Builder
		p.Stdout, p.Stderr = &stdout, &stderr
		if code := run(t.Context(), p, untouched); code != exitDone || stderr.Len() > 0 {
			t.Errorf("%s --help: exit code %d, stderr %q", cmd.CommandPath(), code, stderr.String())
		}
		for _, want := range []string{"Usage:", "\nExit codes:\n  0  "} {
			if !strings.Contains(stdout.String(), want) {
				t.Errorf("%s --help has no %q", cmd.CommandPath(), want)
			}
		}
		switch {
		case isGroup(cmd):
		case cmd.Example == "":
			t.Errorf("%s has no example", cmd.CommandPath())
		case !strings.Contains(cmd.Example, cmd.CommandPath()):
			t.Errorf("%s: the example shows another command", cmd.CommandPath())
		}
		if cmd.Short == "" || strings.Contains(cmd.Short, "\n") || len(cmd.Short) > 90 {
			t.Errorf("%s: Short is no one-liner: %q", cmd.CommandPath(), cmd.Short)
		}
		if strings.Contains(stdout.String(), "\x1b") {
			t.Errorf("%s --help has escape sequences", cmd.CommandPath())
		}
	})
	if n < 25 {
		t.Errorf("only %d commands were found", n)
	}
}

// TestEnvironmentsCanBeNamedWithAFlag: where ENV is an argument, --env works.
func TestEnvironmentsCanBeNamedWithAFlag(t *testing.T) {
	everyCommand(t, func(cmd *cobra.Command) {
		if strings.Contains(cmd.Use, "ENV") && cmd.Flags().Lookup("env") == nil {
			t.Errorf("%s has no --env", cmd.CommandPath())
		}
	})
	for _, args := range []string{
		"why --env production", "plan --env production", "rollback --env production", "rollback status --env production", "rollback trace --env production",
		"reconcile --env production", "orch env status --env production", "orch deployments list --env production", "orch deployments current --env production",
		"orch health-check --env production", "orch locks list --env production", "orch holds list --env production", "orch db verify --env production",
		"orch locks acquire --env production --reason r", "orch holds release --env production --reason r", "orch env stop --env production", "orch env reset --env production --to-baseline",
	} {
		if got := newFake().invoke(t, strings.Fields(args)...); got.code != exitDone {
			t.Errorf("stella %s: exit code %d\n%s", args, got.code, got.stderr)
		}
	}
}

func TestCommandLinesThatCanNotBeUnderstood(t *testing.T) {
	for args, want := range map[string]string{
		"nope":                      `unknown command "nope" for "stella"`,
		"rolback production":        `did you mean "rollback"?`,
		"env list":                  `did you mean "stella orch env"?`,
		"orch nope":                 `unknown command "nope" for "stella orch"`,
		"deploy --nope":             "unknown flag: --nope",
		"why":                       "why needs the name of an environment",
		"why a b":                   "takes one argument",
		"why a --env b":             "two environments",
		"why -o xml production":     `--output "xml": want one of table, wide, json, yaml, name`,
		"version extra":             "takes no argument",
		"orch env reset production": "reset needs --to-baseline",
		"orch env reset":            "reset needs the name of an environment",
		"orch env reset production --to-baseline --force hold": "--force needs --reason",
		"deploy production":                                             "deploy needs --artifact or --deployment",
		"deploy production --deployment d --artifact a":                 "exclude each other",
		"deploy production --artifact =x":                               "want COMPONENT=IMAGE",
		"deploy production --artifact a=r.io/a:1 --artifact a=r.io/b:1": "each component once",
		"rollback production --force hold":                              "--force needs --reason",
		"rollback production --force all --reason r":                    `--force "all": want one of hold, checks, lock`,
		"rollback production --timeout 0s":                              "want a positive duration",
		"rollback production --wait --detach":                           "exclude each other",
		"rollback production --apply there":                             "want here",
		"rollback production --commit c --include-shared":               "go with none of",
		"rollback production --offline --reason r --include-shared":     "--offline goes with none of",
		"reconcile":                  "reconcile needs environments or --all",
		"reconcile production --all": "reconcile needs environments or --all",
		"reconcile production staging --plan-hash 1":         "--plan-hash is for one environment",
		"orch locks acquire production":                      "acquire needs --reason",
		"orch locks acquire production --reason r --for -1h": "want a positive duration",
		"orch locks release":                                 "release needs the name",
		"orch locks release production --force":              "--force needs --reason",
		"orch holds release production":                      "release needs --reason",
		"orch deployments list production --status done":     `--status "done": want one of pending`,
		"orch deployments list production --kind x":          `--kind "x": want one of deploy`,
		"orch deployments list production --last -1":         "want 1 or more",
		"orch deployments show":                              "show needs the id of a deployment",
		"orch env delete production":                         "delete needs --confirm production",
		"schema Nope":                                        `unknown kind "Nope"`,
		"completion tcsh":                                    `unknown shell "tcsh"`,
		"serve --poll 0s":                                    "want a positive duration",
	} {
		got := newFake().invoke(t, strings.Fields(args)...)
		if got.code != exitUnknown || got.stdout != "" || !strings.Contains(got.stderr, want) {
			t.Errorf("stella %s: exit code %d, stdout %q, stderr has no %q:\n%s", args, got.code, got.stdout, want, got.stderr)
		}
		if n := strings.Count(got.stderr, "\n"); n != 2 || !strings.Contains(got.stderr, "\nstella: hint: run 'stella") {
			t.Errorf("stella %s: want an error and a hint:\n%s", args, got.stderr)
		}
	}
}

func TestEveryErrorEndsWithANextCommand(t *testing.T) {
	for _, c := range classes() {
		err := c.is
		if err == nil {
			err = fmt.Errorf("something else")
		}
		a := newApp(t.Context(), process(t))
		a.environment = "production"
		if f := a.failure(fmt.Errorf("deploy: %w", err)); f.Hint == "" || strings.Contains(f.Hint, "ENV") {
			t.Errorf("%v: hint %q", err, f.Hint)
		}
		own := a.failure(stella.WithHint(err, "do this"))
		if own.Hint != "do this" {
			t.Errorf("%v: its own hint was lost: %q", err, own.Hint)
		}
	}
}

// TestHintsNameCommandsThatThereAre reads this package's own texts: what they
// tell a person to run can be run.
func TestHintsNameCommandsThatThereAre(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	root := newRootCmd(newApp(t.Context(), process(t)))
	n := 0
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, found := range regexp.MustCompile(`'stella ([a-z][a-z -]*)`).FindAllStringSubmatch(string(src), -1) {
			n++
			cmd, rest, err := root.Find(strings.Fields(found[1]))
			if err != nil || cmd == root || isGroup(cmd) && len(rest) > 0 {
				t.Errorf("%s: no command %q", file, found[0])
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d hints were found: the test looks for the wrong thing", n)
	}
}

func TestADeploymentIsFoundAndAnEnvironmentIsNone(t *testing.T) {
	if got := newFake().invoke(t, "orch", "deployments", "show", "production"); got.code != exitUnknown || !strings.Contains(got.stderr, "is an environment, not a deployment") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
	for _, args := range []string{"rollback trace", "rollback status", "rollback trace production-1", "rollback status production-2"} {
		if got := newFake().invoke(t, strings.Fields(args)...); got.code != exitDone || !strings.Contains(got.stdout, "production") {
			t.Errorf("stella %s: exit code %d\n%s", args, got.code, got.stderr)
		}
	}
	f := newFake()
	b := f.books["production"]
	b.Deployments, b.State.Current, b.State.LastGood = b.Deployments[:1], "", "production-1"
	f.books["production"] = b
	for args, want := range map[string]int{"rollback trace production": exitUnknown, "rollback trace": exitUnknown, "orch deployments current production": exitNo} {
		if got := f.invoke(t, strings.Fields(args)...); got.code != want {
			t.Errorf("stella %s: exit code %d, want %d\n%s", args, got.code, want, got.stderr)
		}
	}
}

func TestDeploymentsAreChosen(t *testing.T) {
	for args, want := range map[string]string{
		"":                 "production-2\nproduction-1\n",
		"--last 1":         "production-2\n",
		"--kind deploy":    "production-1\n",
		"--status success": "production-2\nproduction-1\n",
		"--status failed":  "",
		"--kind rollback --last 5 --status succeeded": "production-2\n",
	} {
		got := newFake().invoke(t, append([]string{"orch", "deployments", "list", "production", "-o", "name"}, strings.Fields(args)...)...)
		if got.code != exitDone || got.stdout != want {
			t.Errorf("%s: exit code %d, got %q, want %q", args, got.code, got.stdout, want)
		}
	}
}

// evil is what must never reach a terminal: the corpus of the design's list of
// failures.
func evil() []string {
	return []string{
		"\x1b[2J", "\x1b]8;;http://x\x07", "\x1b]52;c;eA==\x07", "\u009b31m", "\x9b31m", "\u202e", "\u200b",
		"a\rb", "\u2028", "\U000e0041", "\b\b", "\xff\xfe",
	}
}

// TestNothingFromOutsideReachesTheTerminal puts the corpus into every string of
// what the engine answers and looks at every form of every command.
func TestNothingFromOutsideReachesTheTerminal(t *testing.T) {
	attack := strings.Join(evil(), " ")
	for _, c := range documentCases() {
		for _, format := range []string{"", "table", "wide", "json", "yaml", "name"} {
			f := newFake()
			if c.fake != nil {
				c.fake(f)
			}
			b := f.books["production"]
			poison(reflect.ValueOf(&b.Deployments), attack)
			poison(reflect.ValueOf(&b.State.Holds), attack)
			if b.State.Lock != nil {
				poison(reflect.ValueOf(b.State.Lock), attack)
			}
			f.books["production"] = b
			args := strings.Fields(c.args)
			if format != "" {
				args = append(args, "-o", format)
			}
			got := f.invoke(t, args...)
			for _, r := range got.stdout + got.stderr {
				if r != '\n' && r != '\t' && (r < 0x20 || r == 0x7f || r == 0x9b || r == 0x202e || r == 0x200b || r == 0x2028 || r == 0xe0041 || r == 0xfffd) {
					t.Errorf("stella %s: %U was written", strings.Join(args, " "), r)
					break
				}
			}
		}
	}
}

// poison appends s to every free text that v holds.
func poison(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			poison(v.Elem(), s)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			switch v.Type().Field(i).Name {
			case "ID", "Environment", "Status", "Kind", "StartedAt", "FinishedAt":
			default:
				if v.Type().Field(i).IsExported() {
					poison(v.Field(i), s)
				}
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			poison(v.Index(i), s)
		}
	case reflect.Map:
		if v.Type().Elem().Kind() == reflect.String {
			for _, key := range v.MapKeys() {
				v.SetMapIndex(key, reflect.ValueOf(v.MapIndex(key).String()+s))
			}
		}
	case reflect.String:
		v.SetString(v.String() + s)
	}
}

func TestAProposalSaysWhereItIsOpened(t *testing.T) {
	p := reconciler.Proposal{Branch: "stella/deploy/production/1"}
	if err := verdict("production", reconciler.Outcome{Proposal: &p}); !strings.Contains(err.Error(), "branch stella/deploy/production/1 waits") {
		t.Errorf("where the forge is not known: %v", err)
	}
	p.URL = "https://github.com/acme/config/compare/main...stella/deploy/production/1?expand=1"
	if err := verdict("production", reconciler.Outcome{Proposal: &p}); !strings.Contains(err.Error(), p.URL+" waits for review") {
		t.Errorf("where it is: %v", err)
	}
}
