package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

const (
	// signTimeout is how long a person may take to touch a key or to type what
	// an agent asks for.
	signTimeout = 2 * time.Minute
	// signPatience is after how long it is said that a program is waited for.
	signPatience = 3 * time.Second
	// maxSignatureBytes bounds a signature. One with a chain of certificates has
	// some thousand bytes.
	maxSignatureBytes = 64 << 10
	scratchPattern    = "sign-"
)

// sign returns the armoured signature of a payload. The person's own programs
// make it: keys are theirs to keep, in agents, cards or services.
func (s *signer) sign(ctx context.Context, payload []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, signTimeout, s.refuse(s.program, "did not sign within %s", signTimeout))
	defer cancel()
	waiting := time.AfterFunc(signPatience, func() {
		s.log.WarnContext(ctx, "waiting for a signature; a key may want to be touched", "program", s.program)
	})
	defer waiting.Stop()
	var signature []byte
	var err error
	if s.format == "ssh" {
		signature, err = s.ssh(ctx, payload)
	} else {
		signature, err = s.gpg(ctx, payload)
	}
	if err != nil {
		return nil, err
	}
	signature = bytes.ReplaceAll(signature, []byte("\r\n"), []byte("\n"))
	if !bytes.HasPrefix(signature, []byte("-----BEGIN ")) || bytes.ContainsAny(signature, "\r\x00") || len(signature) > maxSignatureBytes {
		return nil, s.refuse(s.program, "gave something that is no armoured signature")
	}
	return signature, nil
}

// gpg signs as git does: the payload comes from the standard input, and that it
// was signed is believed when the status says so.
func (s *signer) gpg(ctx context.Context, payload []byte) ([]byte, error) {
	out, said, err := s.run(ctx, bytes.NewReader(payload), s.program, "--status-fd=2", "-bsau", s.key)
	if err != nil {
		return nil, err
	}
	if !strings.Contains("\n"+said, "\n[GNUPG:] SIG_CREATED ") {
		return nil, s.failed(s.program, said, "it does not say that it did")
	}
	return out, nil
}

// ssh signs as git does: ssh-keygen reads a file and writes another beside it.
func (s *signer) ssh(ctx context.Context, payload []byte) (signature []byte, err error) {
	scratch, err := os.MkdirTemp(s.scratch, scratchPattern)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	key, literal, err := s.sshKey(ctx, scratch)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(scratch, "commit")
	if err := os.WriteFile(file, payload, 0o600); err != nil {
		return nil, err
	}
	args := []string{"-Y", "sign", "-n", "git", "-f", key}
	if literal {
		args = append(args, "-U") // the key itself is in the agent
	}
	if _, _, err := s.run(ctx, nil, s.program, append(args, file)...); err != nil {
		return nil, err
	}
	signature, err = readBounded(file+".sig", maxSignatureBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.refuse(s.program, "ended well and wrote no signature")
	}
	return signature, err
}

// sshKey returns the file of the key. A key that is written down in the
// configuration is a public one, and is put into a file.
func (s *signer) sshKey(ctx context.Context, scratch string) (file string, literal bool, err error) {
	key := s.key
	if key == "" {
		if key, err = s.defaultKey(ctx); err != nil {
			return "", false, err
		}
	}
	if key, literal = literalKey(key); literal {
		file = filepath.Join(scratch, "key.pub")
		return file, true, os.WriteFile(file, []byte(key+"\n"), 0o600)
	}
	if file, err = s.homePath(key); err != nil {
		return "", false, err
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(s.dir, file)
	}
	return file, false, nil
}

// defaultKey runs gpg.ssh.defaultKeyCommand, whose first line is a key.
func (s *signer) defaultKey(ctx context.Context) (string, error) {
	words, ok := splitWords(s.keyHelp)
	if !ok || len(words) == 0 {
		return "", fmt.Errorf("%w: git's configuration says gpg.ssh.defaultKeyCommand = %q, which is no command", stella.ErrInvalid, safe.Clip(s.keyHelp, 80))
	}
	out, _, err := s.run(ctx, nil, words[0], words[1:]...)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(out), "\n")
	line = strings.TrimRight(line, "\r")
	if _, literal := literalKey(line); !literal {
		return "", s.refuse(words[0], "(gpg.ssh.defaultKeyCommand) named no key")
	}
	return line, nil
}

// literalKey tells a public key from the name of a file.
func literalKey(s string) (key string, literal bool) {
	if key, ok := strings.CutPrefix(s, "key::"); ok {
		return key, true
	}
	return s, strings.HasPrefix(s, "ssh-")
}

// run runs a program without a shell and without a terminal: what it has to ask
// it asks through an agent. It returns what it printed.
func (s *signer) run(ctx context.Context, stdin io.Reader, program string, args ...string) (out []byte, said string, err error) {
	if program, err = s.homePath(program); err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdin = s.dir, stdin
	for _, k := range signingEnv() {
		if v := s.getenv(k); v != "" {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	stdout, stderr := &bounded{most: maxSignatureBytes + 1}, &bounded{most: 16 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// In a session of its own it can not ask on the terminal that stella draws on,
	// nor be stopped for trying, nor be hit by an interrupt that is meant for stella.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	said = stderr.String()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return stdout.Bytes(), said, nil
	case ctx.Err() != nil:
		return nil, "", context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil, "", stella.WithHint(fmt.Errorf("%w: %s can not be run: %w", stella.ErrRefused, safe.Clip(program, 80), err),
			fmt.Sprintf("install it, set %s in git's configuration, or set commit.gpgSign to false", s.programKey()))
	}
	return nil, "", s.failed(program, said, err.Error())
}

// signingEnv are the variables that reach signing programs: what they need to
// find keys, agents and whom to ask.
func signingEnv() []string {
	return []string{
		"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE", "TERM",
		"XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS",
		"SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "SSH_SK_PROVIDER",
		"GNUPGHOME", "GPG_TTY", "GPG_AGENT_INFO", "PINENTRY_USER_DATA", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY",
		"GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_GLOBAL", "GIT_EXEC_PATH",
		"GITSIGN_CREDENTIAL_CACHE", "GITSIGN_CONNECTOR_ID", "GITSIGN_TOKEN_PROVIDER", "SIGSTORE_ID_TOKEN",
	}
}

func (s *signer) programKey() string {
	if s.format == "openpgp" {
		return "gpg.program"
	}
	return "gpg." + s.format + ".program"
}

func (s *signer) refuse(program, format string, args ...any) error {
	err := fmt.Errorf("%w: %s %s", stella.ErrRefused, safe.Clip(program, 80), fmt.Sprintf(format, args...))
	return stella.WithHint(err, s.hint())
}

// failed words what a program said when it did not sign.
func (s *signer) failed(program, said, otherwise string) error {
	var lines []string
	for line := range strings.SplitSeq(said, "\n") {
		// The status is for programs; what is for people is beside it.
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "[GNUPG:]") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		lines = append(lines, otherwise)
	}
	return s.refuse(program, "did not sign: %s", safe.Clip(strings.Join(lines, "; "), 400))
}

func (s *signer) hint() string {
	if s.format == "ssh" {
		return "add the key to an agent with 'ssh-add', and see that 'git commit -S --allow-empty' works in a clone"
	}
	return "unlock the key in the agent, and see that 'git commit -S --allow-empty' works in a clone"
}

// bounded keeps the first bytes of what is written to it.
type bounded struct {
	bytes.Buffer

	most int
}

// Write implements io.Writer. It takes everything, so that the program goes on.
func (b *bounded) Write(p []byte) (int, error) {
	_, _ = b.Buffer.Write(p[:min(len(p), b.most-b.Len())])
	return len(p), nil
}

func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	return data, errors.Join(err, f.Close())
}

// homePath expands "~/x" and "~user/x" as git does.
func (s *signer) homePath(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~")
	if !ok {
		return path, nil
	}
	name, rest, _ := strings.Cut(rest, "/")
	if home := s.getenv("HOME"); name == "" && home != "" {
		return filepath.Join(home, rest), nil
	}
	who, err := user.Current()
	if name != "" {
		who, err = user.Lookup(name)
	}
	if err != nil {
		return "", fmt.Errorf("%w: git's configuration names %q: %w", stella.ErrInvalid, safe.Clip(path, 80), err)
	}
	return filepath.Join(who.HomeDir, rest), nil
}

// splitWords splits a command into words as git does without a shell: quotes
// and backslashes count, nothing else does.
func splitWords(s string) (words []string, ok bool) {
	var word strings.Builder
	var quote byte
	within := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && quote != '\'':
			if i++; i == len(s) {
				return nil, false
			}
			word.WriteByte(s[i])
			within = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, within = c, true
		case quote == 0 && strings.IndexByte(" \t\r\n", c) >= 0:
			if within {
				words = append(words, word.String())
			}
			word.Reset()
			within = false
		default:
			word.WriteByte(c)
			within = true
		}
	}
	if within {
		words = append(words, word.String())
	}
	return words, quote == 0
}

// sweepSigning removes what a crash left of signing. Whoever signs now is done
// long before it would count as left.
func (r *Repo) sweepSigning(now time.Time) error {
	strays, err := filepath.Glob(filepath.Join(r.opts.Dir, scratchPattern+"*"))
	for _, stray := range strays {
		if info, statErr := os.Lstat(stray); statErr == nil && now.Sub(info.ModTime()) > strayAge {
			err = errors.Join(err, os.RemoveAll(stray))
		}
	}
	return err
}
