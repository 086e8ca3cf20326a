package git

import (
	"context"
	"os"
	"os/user"
	"time"

	"github.com/stella-ops/stella/internal/git/wire"
)

// configured matches the keys of git's configuration that count here.
const configured = `^(user\.(name|email|signingkey)|commit\.gpgsign|gpg\..*|stella\..*)$`

// config is the person's git configuration, read once. It is only remembered
// when it could be read.
func (r *Repo) config(ctx context.Context) (map[string]string, error) {
	r.who.Lock()
	defer r.who.Unlock()
	if r.settings != nil {
		return r.settings, nil
	}
	url := r.opts.URL
	if r.remote.Endpoint().Password != "" {
		url = r.Remote()
	}
	settings, err := wire.GitConfig(ctx, r.opts.Getenv, configured, r.opts.Clone, url)
	if err != nil {
		return nil, err
	}
	if settings == nil {
		settings = map[string]string{}
	}
	r.settings = settings
	return settings, nil
}

// Identity returns who makes commits here, as git would: GIT_AUTHOR_NAME and
// GIT_AUTHOR_EMAIL, else user.name and user.email of git's configuration, else
// user and host. When is now. The configuration is read once.
func (r *Repo) Identity(ctx context.Context) Signature {
	// Who it is matters less than that it can be said: Sign refuses a
	// configuration that can not be read.
	settings, err := r.config(ctx)
	if err != nil {
		r.opts.Logger.WarnContext(ctx, "read who makes commits", "err", err)
	}
	s := Signature{Name: r.opts.Getenv("GIT_AUTHOR_NAME"), Email: r.opts.Getenv("GIT_AUTHOR_EMAIL"), When: time.Now()}
	if s.Name == "" {
		s.Name = settings["user.name"]
	}
	if s.Email == "" {
		s.Email = settings["user.email"]
	}
	name := "stella"
	if me, err := user.Current(); err == nil {
		name = me.Username
	}
	if s.Name == "" {
		s.Name = name
	}
	if s.Email == "" {
		host, err := os.Hostname()
		if err != nil || host == "" {
			host = "localhost"
		}
		s.Email = name + "@" + host
	}
	s.Name, s.Email = plainName(s.Name), plainName(s.Email)
	return s
}
