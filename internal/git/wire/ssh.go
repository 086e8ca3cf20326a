package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/user"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/stella-ops/stella"
)

// sshDialer runs the server programs by ssh, one connection a conversation.
type sshDialer struct {
	cfg *Config
	ep  *Endpoint
}

func (*sshDialer) close() {}

func (d *sshDialer) dial(ctx context.Context, s Service, version int) (*Conn, error) {
	client, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	// Nothing in a session can be cancelled: ending the connection ends it all.
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	c, err := session(client, s, d.ep.Path, version)
	if err != nil {
		stop()
		return nil, errors.Join(err, client.Close())
	}
	hangUp := c.hangUp
	c.hangUp = func(asked bool) error {
		err := hangUp(asked)
		stop()
		_ = client.Close()
		return err
	}
	return c, nil
}

func session(client *ssh.Client, s Service, path string, version int) (*Conn, error) {
	sess, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	if version == 2 {
		// A server that does not take the variable speaks version 0.
		_ = sess.Setenv("GIT_PROTOCOL", "version=2")
	}
	said := &said{}
	sess.Stderr = said
	stdin, err := sess.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := sess.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := sess.Start(string(s) + " " + quote(path)); err != nil {
		return nil, err
	}
	return stream(stdin, stdout, said, func() error {
		_ = sess.Wait()
		return nil
	}), nil
}

// quote makes one word of a path for the remote's shell, as git's quote.c does.
func quote(path string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}

func (d *sshDialer) connect(ctx context.Context) (*ssh.Client, error) {
	target := d.target()
	cfg, done, err := d.clientConfig(ctx, target)
	if err != nil {
		return nil, err
	}
	defer done()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", target.addr())
	if err != nil {
		return nil, err
	}
	// The handshake knows no context, so the connection is cut under it.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c, chans, reqs, err := ssh.NewClientConn(conn, target.addr(), cfg)
	if err != nil {
		_ = conn.Close()
		return nil, d.explain(err, target)
	}
	return ssh.NewClient(c, chans, reqs), nil
}

const sshPort = 22

// explain classifies the errors of a handshake.
func (d *sshDialer) explain(err error, target *Endpoint) error {
	if known, ok := errors.AsType[*hostKeyError](err); ok {
		return known.explain(target)
	}
	if strings.Contains(err.Error(), "unable to authenticate") {
		return stella.WithHint(
			fmt.Errorf("%w: the host accepts none of the keys for user %s", stella.ErrDenied, target.User),
			"add the key to the ssh agent, or name its file in STELLA_GIT_SSH_KEY")
	}
	return fmt.Errorf("%w: %s", stella.ErrUnreachable, printable(err))
}

// target is the endpoint with what the user's ssh configuration says of it.
func (d *sshDialer) target() *Endpoint {
	t := *d.ep
	d.sshConfig().apply(&t)
	if t.User == "" {
		if me, err := user.Current(); err == nil {
			t.User = me.Username
		}
	}
	return &t
}
