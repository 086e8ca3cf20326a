package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/kevinburke/ssh_config"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// clientConfig says who we are and whom we trust. done is called after the
// handshake.
func (d *sshDialer) clientConfig(ctx context.Context, target *Endpoint) (_ *ssh.ClientConfig, done func(), err error) {
	check, algorithms, err := d.hostKeys(target)
	if err != nil {
		return nil, nil, err
	}
	auth, done, err := d.auth(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &ssh.ClientConfig{User: target.User, Auth: auth, HostKeyCallback: check, HostKeyAlgorithms: algorithms}, done, nil
}

// auth offers the agent's keys, then those of files: STELLA_GIT_SSH_KEY where
// it is set, else those that the ssh configuration names, else the usual names.
func (d *sshDialer) auth(ctx context.Context) (methods []ssh.AuthMethod, done func(), err error) {
	done = func() {}
	files, explicit := d.keyFiles()
	var signers []ssh.Signer
	for _, file := range files {
		key, err := readKey(file)
		if err != nil && explicit {
			return nil, nil, err
		}
		if err == nil {
			signers = append(signers, key)
		}
	}
	if len(signers) > 0 {
		methods = append(methods, ssh.PublicKeys(signers...))
	}
	// All of the methods' signers come before the next method's: with a key that
	// was named, the agent's others only use up the server's patience.
	if sock := d.cfg.Getenv("SSH_AUTH_SOCK"); sock != "" && !explicit {
		var dialer net.Dialer
		if conn, err := dialer.DialContext(ctx, "unix", sock); err == nil {
			done = func() { _ = conn.Close() }
			methods = []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
				held, err := agent.NewClient(conn).Signers()
				if err != nil && len(signers) == 0 {
					return nil, err
				}
				return append(held, signers...), nil
			})}
		}
	}
	if len(methods) == 0 {
		return nil, nil, stella.WithHint(fmt.Errorf("%w: there is no ssh key to offer", stella.ErrDenied),
			"add a key to the ssh agent, or name its file in STELLA_GIT_SSH_KEY")
	}
	return methods, done, nil
}

// keyFiles returns files of private keys, and whether somebody named them.
func (d *sshDialer) keyFiles() (files []string, explicit bool) {
	if file := d.cfg.Getenv("STELLA_GIT_SSH_KEY"); file != "" {
		return []string{file}, true
	}
	home := d.cfg.Getenv("HOME")
	if home == "" {
		return nil, false
	}
	if named := d.sshConfig().all(d.ep.Host, "IdentityFile"); len(named) > 0 {
		for i := range named {
			named[i] = expandHome(named[i], home)
		}
		return named, false
	}
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		files = append(files, filepath.Join(home, ".ssh", name))
	}
	return files, false
}

func readKey(file string) (ssh.Signer, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: read ssh key: %w", stella.ErrInvalid, err)
	}
	key, err := ssh.ParsePrivateKey(data)
	if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		return nil, stella.WithHint(fmt.Errorf("%w: ssh key %s has a passphrase", stella.ErrDenied, safe.Line(file)),
			"run 'ssh-add "+safe.Line(file)+"'")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: ssh key %s: %w", stella.ErrInvalid, safe.Line(file), err)
	}
	return key, nil
}

// hostKeys returns what checks the host's key against the files of known hosts,
// and the algorithms of the keys that are known: with others the host might
// show a key that only looks changed.
func (d *sshDialer) hostKeys(target *Endpoint) (ssh.HostKeyCallback, []string, error) {
	known, err := knownhosts.New(d.knownFiles()...)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: known hosts: %s", stella.ErrInvalid, printable(err))
	}
	check := func(addr string, remote net.Addr, key ssh.PublicKey) error {
		err := known(addr, remote, key)
		if ke, ok := errors.AsType[*knownhosts.KeyError](err); ok {
			return &hostKeyError{key: key, changed: len(ke.Want) > 0}
		}
		if err != nil {
			return &hostKeyError{key: key, changed: true}
		}
		return nil
	}
	return check, algorithmsOf(known, target.addr()), nil
}

func (d *sshDialer) knownFiles() (files []string) {
	candidates := []string{d.cfg.Getenv("STELLA_GIT_KNOWN_HOSTS")}
	if candidates[0] == "" {
		candidates = []string{"/etc/ssh/ssh_known_hosts"}
		if home := d.cfg.Getenv("HOME"); home != "" {
			candidates = append(candidates, filepath.Join(home, ".ssh", "known_hosts"))
		}
	}
	for _, f := range candidates {
		if _, err := os.Stat(f); err == nil {
			files = append(files, f)
		}
	}
	return files
}

// noKey is a key that no host has: asking for it makes knownhosts tell which
// keys it knows.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

func algorithmsOf(known ssh.HostKeyCallback, addr string) (names []string) {
	var ke *knownhosts.KeyError
	if !errors.As(known(addr, &net.TCPAddr{}, noKey{}), &ke) {
		return nil
	}
	for _, k := range ke.Want {
		if t := k.Key.Type(); t == ssh.KeyAlgoRSA {
			names = append(names, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			names = append(names, t)
		}
	}
	return names
}

// hostKeyError says that the host's key is not the known one.
type hostKeyError struct {
	key     ssh.PublicKey
	changed bool
}

func (e *hostKeyError) Error() string { return "host key is not known" }

func (e *hostKeyError) explain(target *Endpoint) error {
	host := knownhosts.Normalize(target.addr())
	print := ssh.FingerprintSHA256(e.key)
	if e.changed {
		return stella.WithHint(
			fmt.Errorf("%w: the host key of %s is not the known one: it is %s", stella.ErrTampered, safe.Line(host), print),
			"find out why it changed; only then run 'ssh-keygen -R "+safe.Line(host)+"' and add the new key")
	}
	port := target.Port
	if port == 0 {
		port = sshPort
	}
	return stella.WithHint(
		fmt.Errorf("%w: the host key of %s is not known: it is %s", stella.ErrDenied, safe.Line(host), print),
		"compare the fingerprint with what the host's operator publishes, then run 'ssh-keyscan -p "+
			strconv.Itoa(port)+" "+safe.Line(target.Host)+" >> ~/.ssh/known_hosts'")
}

// sshConfig is the user's ~/.ssh/config; nil where there is none.
type sshConfig struct{ c *ssh_config.Config }

// sshConfig reads the configuration. One that can not be parsed, because it has
// Match, counts as none.
func (d *sshDialer) sshConfig() *sshConfig {
	home := d.cfg.Getenv("HOME")
	if home == "" {
		return &sshConfig{}
	}
	f, err := os.Open(filepath.Join(home, ".ssh", "config"))
	if err != nil {
		return &sshConfig{}
	}
	defer func() { _ = f.Close() }()
	c, err := ssh_config.Decode(f)
	if err != nil {
		return &sshConfig{}
	}
	return &sshConfig{c}
}

func (s *sshConfig) get(host, key string) string {
	if s.c == nil {
		return ""
	}
	v, err := s.c.Get(host, key)
	if err != nil {
		return ""
	}
	return v
}

func (s *sshConfig) all(host, key string) []string {
	if s.c == nil {
		return nil
	}
	v, err := s.c.GetAll(host, key)
	if err != nil {
		return nil
	}
	return v
}

// apply sets what the URL left open. A host name in the configuration is where
// the alias of the URL leads to.
func (s *sshConfig) apply(t *Endpoint) {
	alias := t.Host
	if host := s.get(alias, "HostName"); validHost(host) {
		t.Host = host
	}
	if port, err := strconv.ParseUint(s.get(alias, "Port"), 10, 16); err == nil && t.Port == 0 {
		t.Port = int(port)
	}
	if u := s.get(alias, "User"); t.User == "" && userRE.MatchString(u) {
		t.User = u
	}
}

func expandHome(file, home string) string {
	if len(file) > 1 && file[:2] == "~/" {
		return filepath.Join(home, file[2:])
	}
	return file
}
