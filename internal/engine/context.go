package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	dockercontext "github.com/docker/cli/cli/context"
	"github.com/docker/cli/cli/context/store"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// dockerEndpoint is what contexts call the endpoint of an engine.
const dockerEndpoint = "docker"

// context reads a Docker context: where it points to, and its files for TLS. One
// that switches verification off is refused.
func (p *Pool) context(name string) (Address, func() (material, error), error) {
	dir, err := p.contexts()
	if err != nil {
		return Address{}, nil, err
	}
	contexts := store.New(dir, store.NewConfig(func() any { return &map[string]any{} },
		store.EndpointTypeGetter(dockerEndpoint, func() any { return &dockercontext.EndpointMetaBase{} })))
	meta, err := contexts.GetMetadata(name)
	if err != nil {
		class := stella.ErrInvalid
		if errors.Is(err, os.ErrNotExist) {
			class = stella.ErrNotFound
		}
		return Address{}, nil, stella.WithHint(fmt.Errorf("%w: read Docker context %s: %s", class, safe.Line(name), safe.Line(err.Error())),
			"see 'docker context ls'; DOCKER_CONFIG says where contexts are kept")
	}
	endpoint, ok := meta.Endpoints[dockerEndpoint].(dockercontext.EndpointMetaBase)
	switch {
	case !ok || endpoint.Host == "":
		return Address{}, nil, fmt.Errorf("%w: Docker context %s names no engine", stella.ErrInvalid, safe.Line(name))
	case endpoint.SkipTLSVerify:
		return Address{}, nil, stella.WithHint(fmt.Errorf("%w: Docker context %s does not verify the engine's certificate", stella.ErrInvalid, safe.Line(name)),
			fmt.Sprintf("make it anew with a ca: 'docker context update %s --docker host=…,ca=…,cert=…,key=…'", safe.Line(name)))
	}
	return Address{Host: endpoint.Host}, func() (material, error) {
		data, err := dockercontext.LoadTLSData(contexts, name, dockerEndpoint)
		if err != nil {
			return material{}, fmt.Errorf("%w: %w", stella.ErrInvalid, err)
		}
		if data == nil || data.CA == nil || data.Cert == nil || data.Key == nil {
			return material{}, stella.WithHint(fmt.Errorf("%w: Docker context %s has no certificates; plain tcp is refused", stella.ErrInvalid, safe.Line(name)),
				fmt.Sprintf("'docker context update %s --docker host=…,ca=…,cert=…,key=…', or use ssh://", safe.Line(name)))
		}
		return material{ca: data.CA, cert: data.Cert, key: data.Key}, nil
	}, nil
}

// contexts is the directory of contexts.
func (p *Pool) contexts() (string, error) {
	dir := p.cfg.Getenv("DOCKER_CONFIG")
	if home := p.cfg.Getenv("HOME"); dir == "" && home != "" {
		dir = filepath.Join(home, ".docker")
	}
	if dir == "" {
		return "", stella.WithHint(fmt.Errorf("%w: nobody says where Docker contexts are", stella.ErrInvalid), "set HOME or DOCKER_CONFIG")
	}
	return filepath.Join(dir, "contexts"), nil
}
