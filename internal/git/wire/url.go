package wire

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Endpoint is a parsed URL.
type Endpoint struct {
	Scheme   string // "file", "ssh", "http" or "https"
	User     string
	Password safe.Secret // of http and https; from the URL
	Host     string      // without port and brackets; empty for files
	Port     int         // 0: the scheme's
	Path     string      // of a file: absolute
	shown    string
}

// String returns the URL without credentials, fit to be printed.
func (e *Endpoint) String() string { return e.shown }

// addr returns host and port to connect to by ssh.
func (e *Endpoint) addr() string {
	port := e.Port
	if port == 0 {
		port = sshPort
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(port))
}

// hostPort returns the host as it stands in a URL.
func (e *Endpoint) hostPort() string {
	host := e.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if e.Port != 0 {
		host += ":" + strconv.Itoa(e.Port)
	}
	return host
}

const maxURLBytes = 4096

var (
	helperRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+.-]*::`)
	hostRE   = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?$`)
	userRE   = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_.@+=-]*$`)
)

// ParseURL parses a path, file:///path, https://host/path, ssh://host/path or
// [user@]host:path. Plain http is for loopback and the hosts of allowHTTP.
// Everything else is refused with class stella.ErrInvalid: what Git would run a
// helper for, what could be taken for an option, and control characters.
func ParseURL(raw string, allowHTTP []string) (*Endpoint, error) {
	shown := show(raw)
	bad := func(why string) (*Endpoint, error) {
		return nil, fmt.Errorf("%w: repository %q: %s", stella.ErrInvalid, shown, why)
	}
	switch {
	case raw == "":
		return bad("it is empty")
	case len(raw) > maxURLBytes:
		return bad("it is too long")
	case !utf8.ValidString(raw) || strings.ContainsFunc(raw, unicode.IsControl):
		return bad("it has control characters")
	case strings.HasPrefix(raw, "-"):
		return bad("it starts with a dash")
	case helperRE.MatchString(raw):
		return bad("remote helpers are not run")
	}
	ep, err := parse(raw, allowHTTP)
	if err != nil {
		return bad(err.Error())
	}
	if strings.ContainsFunc(ep.Path, unicode.IsControl) || !utf8.ValidString(ep.Path) {
		return bad("its path has control characters")
	}
	ep.shown = shown
	return ep, nil
}

// show returns a URL without credentials. Of one that does not parse, all that
// may be a user and a password goes, and all that may be a query.
func show(raw string) string {
	if _, err := url.Parse(raw); err != nil {
		raw, _, _ = strings.Cut(raw, "?")
		if scheme, rest, ok := strings.Cut(raw, "://"); ok {
			raw = scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
		}
	}
	return safe.Clip(safe.URL(raw), 200)
}

// reason is why a URL is refused; ParseURL gives it a class.
type reason string

func (r reason) Error() string { return string(r) }

func parse(raw string, allowHTTP []string) (*Endpoint, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return parseBare(raw)
	}
	switch scheme = strings.ToLower(scheme); scheme {
	case "file":
		return parseFile(rest)
	case "ssh", "http", "https":
	case "git+ssh", "ssh+git":
		scheme = "ssh"
	case "git":
		return nil, reason("git:// is neither encrypted nor authenticated; use ssh or https")
	default:
		return nil, reason("its scheme is none of https, ssh and file")
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil {
		// The error of url.Parse quotes the URL, which may hold a password.
		return nil, reason("it is not a URL")
	}
	ep := &Endpoint{Scheme: scheme, User: u.User.Username(), Host: u.Hostname(), Path: u.Path}
	if err := ep.setPort(u.Port()); err != nil {
		return nil, err
	}
	if p, ok := u.User.Password(); ok {
		ep.Password = safe.Secret(p)
	}
	switch {
	case u.RawQuery != "" || u.Fragment != "":
		return nil, reason("it has a query or a fragment")
	case !validHost(ep.Host):
		return nil, reason("its host is not valid")
	case scheme == "ssh":
		return ep.checkSSH()
	case scheme == "http" && !loopback(ep.Host) && !slices.ContainsFunc(allowHTTP, func(h string) bool { return strings.EqualFold(h, ep.Host) }):
		return nil, reason("http is not encrypted, and the host is not one where that is allowed; use https")
	}
	ep.Path = strings.TrimRight(u.EscapedPath(), "/")
	return ep, nil
}

func (e *Endpoint) setPort(port string) error {
	if port == "" {
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return reason("its port is not valid")
	}
	e.Port = int(n)
	return nil
}

func (e *Endpoint) checkSSH() (*Endpoint, error) {
	// ssh://host/~user/repo means a path below a home directory.
	if strings.HasPrefix(e.Path, "/~") {
		e.Path = e.Path[1:]
	}
	switch {
	case e.Password != "":
		return nil, reason("ssh takes no password in a URL; use a key or the agent")
	case e.User != "" && !userRE.MatchString(e.User):
		return nil, reason("its user is not valid")
	case e.Path == "" || e.Path == "/":
		return nil, reason("it has no path")
	case strings.HasPrefix(e.Path, "-"):
		return nil, reason("its path starts with a dash")
	}
	return e, nil
}

// parseFile parses what follows file://.
func parseFile(rest string) (*Endpoint, error) {
	rest = strings.TrimPrefix(rest, "localhost")
	path, err := url.PathUnescape(rest)
	if err != nil || !strings.HasPrefix(path, "/") {
		return nil, reason("want file:/// and an absolute path")
	}
	return &Endpoint{Scheme: "file", Path: filepath.Clean(path)}, nil
}

// parseBare parses a path or [user@]host:path. As in Git, it is a path when a
// slash comes before the first colon.
func parseBare(raw string) (*Endpoint, error) {
	host, path, ok := strings.Cut(raw, ":")
	if !ok || strings.Contains(host, "/") {
		abs, err := filepath.Abs(raw)
		if err != nil {
			return nil, reason("its path can not be made absolute")
		}
		return &Endpoint{Scheme: "file", Path: abs}, nil
	}
	ep := &Endpoint{Scheme: "ssh", Host: host, Path: path}
	if user, h, ok := strings.Cut(host, "@"); ok {
		ep.User, ep.Host = user, h
		if !userRE.MatchString(user) {
			return nil, reason("its user is not valid")
		}
	}
	if !validHost(ep.Host) {
		return nil, reason("its host is not valid")
	}
	return ep.checkSSH()
}

func validHost(h string) bool {
	return len(h) <= 255 && (hostRE.MatchString(h) || net.ParseIP(h) != nil)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
