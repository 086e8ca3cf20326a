package artifact

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/stella-ops/stella"
)

// EngineAuth returns the credentials for an image's registry as a container
// engine wants them in its X-Registry-Auth header; empty where there are none.
// They are read anew each time. Never log it.
func (c *Client) EngineAuth(ctx context.Context, a stella.Artifact) (string, error) {
	repo, err := name.NewRepository(a.Registry + "/" + a.Repository)
	if err != nil {
		return "", fmt.Errorf("%w: image %s", stella.ErrInvalid, a)
	}
	auth, err := c.credentials(ctx, repo)
	if err != nil {
		return "", err
	}
	if auth.Username == "" && auth.IdentityToken == "" && auth.RegistryToken == "" {
		return "", nil
	}
	text, err := json.Marshal(map[string]string{
		"username": auth.Username, "password": auth.Password, "identitytoken": auth.IdentityToken,
		"registrytoken": auth.RegistryToken, "serveraddress": repo.RegistryStr(),
	})
	if err != nil {
		return "", fmt.Errorf("credentials for the engine: %w", err)
	}
	return base64.URLEncoding.EncodeToString(text), nil
}
