package git

import (
	"context"
	"os"
	"os/user"
	"time"

	"github.com/stella-ops/stella/internal/git/wire"
)

// Identity returns who makes commits here, as git would: GIT_AUTHOR_NAME and
// GIT_AUTHOR_EMAIL, else user.name and user.email of git's configuration, else
// user and host. When is now. The configuration is read once.
func (r *Repo) Identity(ctx context.Context) Signature {
	r.who.Lock()
	defer r.who.Unlock()
	if r.me == (Signature{}) {
		r.me = r.identity(ctx)
	}
	s := r.me
	s.When = time.Now()
	return s
}

func (r *Repo) identity(ctx context.Context) Signature {
	s := Signature{Name: r.opts.Getenv("GIT_AUTHOR_NAME"), Email: r.opts.Getenv("GIT_AUTHOR_EMAIL")}
	if s.Name == "" {
		s.Name = wire.GitConfig(ctx, r.opts.Getenv, "user.name")
	}
	if s.Email == "" {
		s.Email = wire.GitConfig(ctx, r.opts.Getenv, "user.email")
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
