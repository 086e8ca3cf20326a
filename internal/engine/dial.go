package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"syscall"

	"github.com/docker/cli/cli/connhelper"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// dialer connects to one engine, whatever address it is given.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// dialer returns how an engine is reached. It touches files only.
func (p *Pool) dialer(a Address) (dialer, error) {
	material := materialIn(a.TLS)
	if a.Context != "" {
		var err error
		if a, material, err = p.context(a.Context); err != nil {
			return nil, err
		}
	}
	u, err := url.Parse(a.Host)
	if err != nil {
		return nil, fmt.Errorf("%w: the address is no URL", stella.ErrInvalid)
	}
	switch u.Scheme {
	case "unix":
		return unixDialer(u.Path), nil
	case "tcp", "https":
		return tlsDialer(u, material)
	case "ssh":
		return sshDialer(a.Host, u, p.cfg.SSH)
	}
	return nil, stella.WithHint(fmt.Errorf("%w: no such kind of address: %q", stella.ErrInvalid, safe.Line(u.Scheme)), "give a unix://, tcp:// or ssh:// address")
}

func unixDialer(path string) dialer {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "unix", path)
		switch {
		case err == nil:
			return conn, nil
		case errors.Is(err, os.ErrPermission):
			return nil, stella.WithHint(fmt.Errorf("%w: no permission for the socket %s", stella.ErrDenied, safe.Line(path)), "run stella as a user who may use the engine: 'sudo usermod -aG docker $USER', then log in again")
		case errors.Is(err, os.ErrNotExist):
			return nil, notRunning("there is no socket " + path)
		case errors.Is(err, syscall.ECONNREFUSED):
			return nil, notRunning("nothing listens at the socket " + path)
		}
		return nil, unreachable(ctx, err)
	}
}

func notRunning(what string) error {
	return stella.WithHint(fmt.Errorf("%w: %s", stella.ErrUnreachable, safe.Line(what)), "start the engine: 'systemctl start docker'")
}

// unreachable says why a connection failed. It wraps nothing of the cause: the
// engine's client replaces errors that it knows, and class and hint with them.
func unreachable(ctx context.Context, err error) error {
	var what string
	dns, isDNS := errors.AsType[*net.DNSError](err)
	network, isNetwork := errors.AsType[net.Error](err)
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case errors.Is(err, syscall.ECONNREFUSED):
		what = "nothing listens there"
	case isDNS:
		what = "the name " + dns.Name + " is not known"
	case isNetwork && network.Timeout():
		what = "no connection within " + dialTime.String()
	default:
		what = err.Error()
	}
	return stella.WithHint(fmt.Errorf("%w: %s", stella.ErrUnreachable, safe.Line(what)), "look whether the machine is up and the engine runs: 'systemctl status docker' there")
}

// material are the three files that TLS needs.
type material struct{ ca, cert, key []byte }

// materialIn returns what reads the files of a directory.
func materialIn(dir string) func() (material, error) {
	return func() (material, error) {
		var m material
		if dir == "" {
			return m, stella.WithHint(fmt.Errorf("%w: plain tcp is refused: whoever reaches the port is root there", stella.ErrInvalid), "name the directory with ca.pem, cert.pem and key.pem in 'docker: {tls: …}', or use ssh://")
		}
		for name, to := range map[string]*[]byte{"ca.pem": &m.ca, "cert.pem": &m.cert, "key.pem": &m.key} {
			data, err := readPEM(dir, name)
			if err != nil {
				return m, err
			}
			*to = data
		}
		return m, nil
	}
}

func readPEM(dir, name string) ([]byte, error) {
	const most = 1 << 20
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, stella.WithHint(fmt.Errorf("%w: tls directory %s: %w", stella.ErrInvalid, safe.Line(dir), err), "put ca.pem, cert.pem and key.pem there")
	}
	defer func() { _ = root.Close() }()
	data, err := root.ReadFile(name)
	if err != nil || len(data) > most {
		return nil, stella.WithHint(fmt.Errorf("%w: %s in %s can not be read", stella.ErrInvalid, name, safe.Line(dir)), "put ca.pem, cert.pem and key.pem there")
	}
	return data, nil
}

// tlsDialer verifies the engine's certificate by the given authority alone, and
// for the name in the address.
func tlsDialer(u *url.URL, read func() (material, error)) (dialer, error) {
	m, err := read()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(m.ca) {
		return nil, fmt.Errorf("%w: ca.pem has no certificate", stella.ErrInvalid)
	}
	pair, err := tls.X509KeyPair(m.cert, m.key)
	if err != nil {
		return nil, fmt.Errorf("%w: cert.pem and key.pem are not a pair: %w", stella.ErrInvalid, err)
	}
	config := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	port := u.Port()
	if port == "" {
		port = "2376"
	}
	address := net.JoinHostPort(u.Hostname(), port)
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTime)
		defer cancel()
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, unreachable(ctx, err)
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, explainTLS(ctx, err)
		}
		return &explained{Conn: secure, explain: func(err error) error { return explainTLS(context.WithoutCancel(ctx), err) }}, nil
	}, nil
}

func explainTLS(ctx context.Context, err error) error {
	_, verified := errors.AsType[*tls.CertificateVerificationError](err)
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case verified:
		return stella.WithHint(fmt.Errorf("%w: the engine's certificate is not what ca.pem says: %s", stella.ErrDenied, safe.Line(err.Error())), "check that ca.pem is the authority of this engine, and that the address is a name in its certificate")
	case isAlert(err):
		return stella.WithHint(fmt.Errorf("%w: the engine refuses cert.pem: %s", stella.ErrDenied, safe.Line(err.Error())), "check that cert.pem is signed by the authority that the engine was started with (--tlscacert)")
	case notTLS:
		return stella.WithHint(fmt.Errorf("%w: what listens there does not speak TLS", stella.ErrDenied), "start the engine with --tlsverify")
	}
	return unreachable(ctx, err)
}

// explained is a connection whose reads say what their errors mean: with TLS 1.3
// a refused certificate, and with SSH everything, shows up only then.
type explained struct {
	net.Conn
	explain func(error) error
}

func (e *explained) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	if isAlert(err) {
		err = e.explain(err)
	}
	return n, err
}

// isAlert reports whether the other side ended the handshake. That is what
// crypto/tls calls the operation; the alert itself has no exported type.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// sshDialer runs the ssh command: agent, keys, known_hosts and ssh_config are the
// user's. It never asks.
func sshDialer(address string, u *url.URL, options []string) (dialer, error) {
	flags := append(append([]string{}, options...),
		"-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3")
	helper, err := connhelper.GetConnectionHelperWithSSHOpts(address, flags)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", stella.ErrInvalid, err)
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := helper.Dialer(ctx, "", "")
		if err != nil {
			return nil, stella.WithHint(fmt.Errorf("%w: run ssh: %s", stella.ErrUnreachable, safe.Line(err.Error())), "install the ssh command")
		}
		return &sshConn{Conn: conn, host: u.Hostname(), destination: destination(u)}, nil
	}, nil
}

// destination is the address as arguments of ssh.
func destination(u *url.URL) string {
	s := u.Hostname()
	if u.User != nil {
		s = u.User.Username() + "@" + s
	}
	if u.Port() != "" {
		s = "-p " + u.Port() + " " + s
	}
	return safe.Line(s)
}
