package gittest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// SSH serves a repository with OpenSSH's sshd on a free loopback port and
// returns its URL and the variables that Options.Getenv has to know: the
// client's key and the file of known hosts. It needs /usr/sbin/sshd.
func SSH(t testing.TB, bare string) (url string, env map[string]string) {
	t.Helper()
	login, key, known := SSHD(t)
	return "ssh://" + login + Dir(bare), map[string]string{"STELLA_GIT_SSH_KEY": key, "STELLA_GIT_KNOWN_HOSTS": known}
}

// SSHD runs OpenSSH's sshd on a free loopback port for the user who runs the test.
// It returns "USER@HOST:PORT", the file of the client's key and that of known
// hosts.
func SSHD(t testing.TB) (login, key, known string) {
	t.Helper()
	dir := t.TempDir()
	host, key := filepath.Join(dir, "host"), filepath.Join(dir, "client")
	hostKey, clientKey := writeKey(t, host), writeKey(t, key)
	write(t, filepath.Join(dir, "authorized"), authorized(clientKey))
	write(t, filepath.Join(dir, "config"), fmt.Sprintf("HostKey %s\nAuthorizedKeysFile %s\n%s", host, filepath.Join(dir, "authorized"), sshdConfig))
	addr := sshd(t, filepath.Join(dir, "config"))
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	known = filepath.Join(dir, "known_hosts")
	write(t, known, fmt.Sprintf("[127.0.0.1]:%s %s", port, authorized(hostKey)))
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return me.Username + "@" + addr, key, known
}

const sshdConfig = `StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AcceptEnv GIT_PROTOCOL
UseDNS no
LogLevel ERROR
`

// sshd accepts connections itself and gives each to an `sshd -i`, as inetd
// would: no port has to be guessed, and nothing outlives the test.
func sshd(t testing.TB, config string) string {
	t.Helper()
	const bin = "/usr/sbin/sshd"
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("these tests need OpenSSH's server: install openssh-server (%v)", err)
	}
	if os.Getuid() == 0 {
		// sshd's privilege separation wants its empty directory.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { inetd(ctx, conn, bin, config) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		running.Wait()
	})
	return l.Addr().String()
}

func inetd(ctx context.Context, conn net.Conn, bin, config string) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	f, err := tcp.File()
	_ = conn.Close()
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	cmd := exec.CommandContext(ctx, bin, "-i", "-e", "-f", config)
	cmd.Env = Environ()
	cmd.Stdin, cmd.Stdout = f, f
	cmd.WaitDelay = time.Second
	_ = cmd.Run()
}

func writeKey(t testing.TB, file string) ssh.PublicKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(pem.EncodeToMemory(block)))
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func authorized(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + "\n"
}

func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
