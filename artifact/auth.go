package artifact

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// login finds out how the registry wants to be spoken to and returns the value
// of the Authorization header to use, empty for none.
func (s *session) login(ctx context.Context) (safe.Secret, error) {
	challenge, err := transport.Ping(ctx, s.repo.Registry, s.net)
	if err != nil {
		return "", s.fault(err)
	}
	auth, err := s.client.credentials(ctx, s.repo)
	if err != nil {
		return "", err
	}
	if strings.EqualFold(challenge.Scheme, "bearer") {
		return s.token(ctx, challenge, auth)
	}
	switch {
	case auth.RegistryToken != "":
		return safe.Secret("Bearer " + auth.RegistryToken), nil
	case auth.Username != "" && auth.Password != "":
		return safe.Secret("Basic " + base64.StdEncoding.EncodeToString([]byte(auth.Username+":"+auth.Password))), nil
	}
	return "", nil
}

// token exchanges the credentials at the token server that the registry names.
func (s *session) token(ctx context.Context, challenge *transport.Challenge, auth authn.AuthConfig) (safe.Secret, error) {
	if auth.RegistryToken != "" {
		return safe.Secret("Bearer " + auth.RegistryToken), nil
	}
	if err := checkRealm(challenge.Parameters["realm"]); err != nil {
		return "", err
	}
	scopes := []string{s.repo.Scope(transport.PullScope)}
	token, err := transport.Exchange(ctx, s.repo.Registry, authn.FromConfig(auth), s.net, scopes, challenge)
	if err != nil {
		return "", s.tokenFault(err)
	}
	if token.AccessToken != "" {
		return safe.Secret("Bearer " + token.AccessToken), nil
	}
	return safe.Secret("Bearer " + token.Token), nil
}

// tokenFault leaves out the texts of the library for answers that it can not
// use: they quote the answer, which may hold a token.
func (s *session) tokenFault(err error) *fault {
	var (
		status *transport.Error
		u      *url.Error
	)
	if errors.As(err, &status) || errors.As(err, &u) || errors.Is(err, errForbidden) || isConnection(err) || errors.Is(err, errBodyTooLong) {
		f := s.fault(err)
		f.what = "token server: " + f.what
		return f
	}
	if strings.HasPrefix(err.Error(), "invalid realm") {
		return &fault{class: stella.ErrRefused, what: "token server: " + safe.Clip(err.Error(), maxMessageRunes), err: err}
	}
	return &fault{class: stella.ErrInvalid, what: "the token server's answer holds no token"}
}

// checkRealm makes sure that the library gets a URL; where it may lead is
// decided when it is followed.
func checkRealm(realm string) error {
	u, err := url.Parse(realm)
	if err != nil || u.Host == "" || u.User != nil {
		return problem(stella.ErrInvalid, "the registry names no usable token server: %q", safe.Clip(realm, 80))
	}
	return nil
}

// credentials reads Docker's configuration, with its credential helpers, as
// `docker login` leaves it. It is read anew each time: people log in while a
// service runs.
func (c *Client) credentials(ctx context.Context, repo name.Repository) (authn.AuthConfig, error) {
	dir := c.dockerConfig()
	if dir == "" {
		return authn.AuthConfig{}, nil
	}
	type found struct {
		auth authn.AuthConfig
		err  error
	}
	result := make(chan found, 1)
	go func() { // a credential helper is a program that may hang, and takes no context
		auth, err := lookUp(dir, repo)
		result <- found{auth, err}
	}()
	select {
	case f := <-result:
		return f.auth, f.err
	case <-ctx.Done():
		return authn.AuthConfig{}, fmt.Errorf("look up credentials: %w", context.Cause(ctx))
	}
}

func (c *Client) dockerConfig() string {
	switch {
	case c.cfg.DockerConfig != "":
		return c.cfg.DockerConfig
	case c.cfg.Getenv("DOCKER_CONFIG") != "":
		return c.cfg.Getenv("DOCKER_CONFIG")
	case c.cfg.Getenv("HOME") != "":
		return filepath.Join(c.cfg.Getenv("HOME"), ".docker")
	}
	return ""
}

func lookUp(dir string, repo name.Repository) (authn.AuthConfig, error) {
	file, err := config.Load(dir)
	if err != nil {
		return authn.AuthConfig{}, credentialsFault(dir, "it can not be read")
	}
	// A repository's own entry comes before its registry's. Helpers know
	// registries only, and some fail for anything else.
	auth := file.AuthConfigs[repo.String()]
	if auth.Username == "" && auth.IdentityToken == "" && auth.RegistryToken == "" {
		if auth, err = file.GetAuthConfig(repo.RegistryStr()); err != nil {
			return authn.AuthConfig{}, credentialsFault(dir, "its credential helper for "+safe.Line(repo.RegistryStr())+" failed")
		}
	}
	return authn.AuthConfig{Username: auth.Username, Password: auth.Password, IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken}, nil
}

// credentialsFault says what is wrong with Docker's configuration without the
// library's words: they quote what the file or the helper holds.
func credentialsFault(dir, why string) *fault {
	return &fault{
		class: stella.ErrDenied, what: fmt.Sprintf("credentials in %s: %s", safe.Line(filepath.Join(dir, config.ConfigFileName)), why),
		hint: "check auths, credsStore and credHelpers there, or run 'docker login' again",
	}
}
