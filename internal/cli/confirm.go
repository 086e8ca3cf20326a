package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/reconciler"
)

// confirm has a plan agreed to. On a protected environment a person types its
// name; a script passes the hash of the plan that somebody looked at. Where a
// plan undoes more than the last change, a person is asked as well.
func (a *App) confirm(ctx context.Context, env stella.EnvName, plan *reconciler.Plan, o reconciler.Options) (reconciler.Options, error) {
	protected, err := a.isProtected(ctx, env, plan)
	if err != nil {
		return o, err
	}
	switch {
	case o.PlanHash != "":
		return o, nil
	case protected && !a.canAsk():
		return o, unconfirmed(env)
	case protected:
		o.Confirmed = true
		if plan != nil {
			// What was shown is what is done.
			o.PlanHash = plan.Hash
		}
		return o, a.typeName(ctx, env)
	case plan != nil && len(alsoUndone(*plan)) > 0 && a.canAsk():
		return o, a.agree(ctx, fmt.Sprintf("this undoes %s besides the one that is rolled back. Go on?", count(len(alsoUndone(*plan)), "change")))
	}
	return o, nil
}

// isProtected asks the commit that the plan starts from, or else the branch's
// head.
func (a *App) isProtected(ctx context.Context, env stella.EnvName, plan *reconciler.Plan) (bool, error) {
	s, err := a.opened(ctx)
	if err != nil {
		return false, err
	}
	if plan != nil {
		return s.protected(ctx, env, plan.Commit)
	}
	status, err := s.engine.Status(ctx, env, false)
	if err != nil {
		return false, err
	}
	return s.protected(ctx, env, status.SeenCommit)
}

// unconfirmed is what a script gets that changes a protected environment
// unseen.
func unconfirmed(env stella.EnvName) error {
	err := fmt.Errorf("%w: %s is protected and there is no terminal to confirm on", stella.ErrInvalid, env)
	return stella.WithHint(err, "run the same command with --dry-run, look at the plan, then pass its hash with --plan-hash")
}

// canAsk reports whether there is a person to ask.
func (a *App) canAsk() bool { return a.process.StdinTerminal && a.process.StderrTerminal }

// typeName asks for the environment's name.
func (a *App) typeName(ctx context.Context, env stella.EnvName) error {
	got, err := a.ask(ctx, fmt.Sprintf("%s is protected. Type its name to go on: ", env))
	if err != nil {
		return err
	}
	if got != string(env) {
		return notAgreed(fmt.Sprintf("%q is not %s", safe.Clip(got, stella.MaxNameBytes), env))
	}
	return nil
}

// agree asks a question that only "y" or "yes" answers with yes.
func (a *App) agree(ctx context.Context, question string) error {
	got, err := a.ask(ctx, question+" [y/N] ")
	if err != nil {
		return err
	}
	if got = strings.ToLower(got); got != "y" && got != "yes" {
		return notAgreed("not agreed to")
	}
	return nil
}

func notAgreed(why string) error {
	err := fmt.Errorf("%w: %s; nothing was changed", stella.ErrInvalid, why)
	return stella.WithHint(err, "run the same command with --dry-run to look at the plan again")
}

// ask writes a prompt to stderr and reads one line. It returns early when ctx
// ends; the read that is left behind ends with the process.
func (a *App) ask(ctx context.Context, prompt string) (string, error) {
	a.progress().Close()
	if _, err := io.WriteString(a.process.Stderr, safe.Line(prompt)); err != nil {
		return "", fmt.Errorf("ask on the terminal: %w", err)
	}
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(a.process.Stdin).ReadString('\n')
		got <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", stella.WithHint(fmt.Errorf("nobody answered, and nothing was changed: %w", context.Cause(ctx)), "run the same command with --dry-run to look at the plan again")
	case r := <-got:
		if r.err != nil && !errors.Is(r.err, io.EOF) {
			return "", fmt.Errorf("read the answer: %w", r.err)
		}
		return strings.TrimSpace(r.line), nil
	}
}
