package wire

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/stella-ops/stella"
)

// userAgent is how we call ourselves. Some hosts only know names that start so.
const userAgent = "git/2.0-stella"

// fileDialer runs git's own server programs on a directory, so that hooks and
// settings of the repository count as they do for anybody else.
type fileDialer struct {
	cfg *Config
	ep  *Endpoint
}

func (*fileDialer) close() {}

// passed are the variables that reach git and its hooks. Those that name a
// repository (GIT_DIR and its like) are not among them: they would win over
// the one that is meant.
func passed() []string {
	return []string{
		"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK",
		"GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_GLOBAL", "GIT_EXEC_PATH",
	}
}

// gitCommand is a git that ends with ctx, asks nobody anything, and speaks
// English.
func gitCommand(ctx context.Context, getenv func(string) string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C", "GIT_TERMINAL_PROMPT=0"}
	for _, k := range passed() {
		if v := getenv(k); v != "" {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	// In a process group of its own a terminal's interrupt does not reach it: a
	// push under way is finished or cut by us. And all that it started goes with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

func (d *fileDialer) dial(ctx context.Context, s Service, version int) (*Conn, error) {
	// The path is absolute, so that it can not be taken for an option.
	cmd := gitCommand(ctx, d.cfg.Getenv, strings.TrimPrefix(string(s), "git-"), d.ep.Path)
	if version == 2 {
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL=version=2")
	}
	said := &said{}
	cmd.Stderr = said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, stella.WithHint(fmt.Errorf("%w: git is not installed", stella.ErrUnsupported), "install git, or use a repository by https or ssh")
		}
		return nil, err
	}
	return stream(stdin, stdout, said, func() error {
		// Its exit status says less than what it printed.
		_ = cmd.Wait()
		return nil
	}), nil
}
