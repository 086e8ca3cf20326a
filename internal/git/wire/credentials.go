package wire

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/stella-ops/stella/internal/safe"
)

// credentials are those of one host. They come from the URL, from the
// environment, or from git's credential helpers, in this order; helpers are
// asked only when the server wants something.
type credentials struct {
	cfg *Config
	ep  *Endpoint

	mu       sync.Mutex // guards what follows
	user     string
	password safe.Secret
	have     bool
	helped   bool // they came from a helper, which is told what became of them
	told     bool
}

func newCredentials(cfg *Config, ep *Endpoint) *credentials {
	c := &credentials{cfg: cfg, ep: ep, user: ep.User, password: ep.Password, have: ep.Password != ""}
	if c.have {
		return c
	}
	password := first(cfg.Getenv, "STELLA_GIT_PASSWORD", "STELLA_GIT_TOKEN")
	if password == "" {
		return c
	}
	c.password, c.have = safe.Secret(password), true
	if c.user == "" {
		c.user = cfg.Getenv("STELLA_GIT_USERNAME")
	}
	if c.user == "" {
		// Hosts that take a token ignore the name, as long as there is one.
		c.user = "x-access-token"
	}
	return c
}

// apply adds the credentials, if there are any, to a request to the host that
// they are for.
func (c *credentials) apply(req *http.Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.have || req.URL.Host != c.ep.hostPort() {
		return false
	}
	req.SetBasicAuth(c.user, c.password.Reveal())
	return true
}

// renew looks for other credentials after the server refused a request, which
// carried those of now or none. It reports whether there are any.
func (c *credentials) renew(ctx context.Context, used bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if used && !c.helped {
		// What was configured does not change by itself.
		return false
	}
	if used {
		_, _ = c.helper(ctx, "reject", c.describe(true))
		c.have = false
	}
	if c.have {
		return true
	}
	out, err := c.helper(ctx, "fill", c.describe(false))
	if err != nil {
		return false
	}
	user, password := parseCredential(out)
	if password == "" {
		return false
	}
	c.user, c.password, c.have, c.helped, c.told = user, safe.Secret(password), true, true, false
	return true
}

// approve tells the helper that its credentials work, once.
func (c *credentials) approve(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.helped && !c.told {
		c.told = true
		_, _ = c.helper(ctx, "approve", c.describe(true))
	}
}

// describe writes the protocol of git-credential(1).
func (c *credentials) describe(whole bool) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "protocol=%s\nhost=%s\npath=%s\n", c.ep.Scheme, c.ep.hostPort(), strings.TrimPrefix(c.ep.Path, "/"))
	user := c.ep.User
	if whole {
		user = c.user
	}
	if user != "" {
		fmt.Fprintf(&b, "username=%s\n", user)
	}
	if whole {
		fmt.Fprintf(&b, "password=%s\n", c.password.Reveal())
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// helperTimeout bounds a helper: one that wants to ask a person gets nowhere.
const helperTimeout = 10 * time.Second

func (c *credentials) helper(ctx context.Context, verb string, input []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	cmd := gitCommand(ctx, c.cfg.Getenv, "credential", verb)
	if askpass := c.cfg.Getenv("GIT_ASKPASS"); askpass != "" {
		cmd.Env = append(cmd.Env, "GIT_ASKPASS="+askpass)
	} else {
		// Or it would ask by SSH_ASKPASS or core.askPass, which pop up a window.
		cmd.Env = append(cmd.Env, "GIT_ASKPASS=true")
	}
	cmd.Stdin = bytes.NewReader(input)
	return cmd.Output()
}

// parseCredential reads user and password from lines of KEY=VALUE.
func parseCredential(out []byte) (user, password string) {
	for line := range strings.Lines(string(out[:min(len(out), 64<<10)])) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok || strings.ContainsFunc(value, unicode.IsControl) {
			continue
		}
		switch key {
		case "username":
			user = value
		case "password":
			password = value
		}
	}
	return user, password
}
