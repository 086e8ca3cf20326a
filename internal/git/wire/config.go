package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// configTimeout bounds reading git's configuration.
const configTimeout = 10 * time.Second

// GitConfig returns what the person's git configuration says about the keys
// that match a regular expression, by key as git prints it. A key without a
// value is "true". What is included on a condition counts as it does in clone,
// a directory ("" is none), and for a remote that is at any of urls.
//
// Where git is not installed there is no configuration. An error, of class
// stella.ErrInvalid, is one that git can not read.
func GitConfig(ctx context.Context, getenv func(string) string, pattern, clone string, urls ...string) (map[string]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, configTimeout, fmt.Errorf("%w: git config took longer than %s", stella.ErrUnreachable, configTimeout))
	defer cancel()
	cmd := gitCommand(ctx, getenv, "config", "--null", "--get-regexp", pattern)
	if clone != "" {
		cmd.Dir = clone
	}
	// In the environment, since others can read arguments.
	cmd.Env = append(cmd.Env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(urls)))
	for i, url := range urls {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GIT_CONFIG_KEY_%d=remote.origin.url", i), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, url))
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	const notSet = 1
	switch {
	case err == nil:
		return parseConfig(out), nil
	case errors.Is(err, exec.ErrNotFound):
		return nil, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &exit) && exit.ExitCode() == notSet:
		return nil, nil
	case exit != nil:
		err = fmt.Errorf("%w: read git's configuration: %s", stella.ErrInvalid, safe.Clip(strings.TrimSpace(string(exit.Stderr)), 300))
		return nil, stella.WithHint(err, "run 'git config --list' and mend what it complains of")
	}
	return nil, fmt.Errorf("read git's configuration: %w", err)
}

// parseConfig parses "key\nvalue\0…". The last value of a key counts.
func parseConfig(out []byte) map[string]string {
	values := map[string]string{}
	for entry := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
		key, value, set := strings.Cut(string(entry), "\n")
		if !set {
			value = "true"
		}
		values[key] = value
	}
	return values
}
