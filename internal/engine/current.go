package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stella-ops/stella"
)

// defaultSocket is where an engine listens unless somebody says otherwise.
const defaultSocket = "unix:///var/run/docker.sock"

// Current is the engine that the docker command uses: DOCKER_HOST with
// DOCKER_CERT_PATH, else DOCKER_CONTEXT, else the context that was chosen with
// 'docker context use', else the usual socket.
func Current(getenv func(string) string) (Address, error) {
	if host := getenv("DOCKER_HOST"); host != "" {
		return At(host, getenv), nil
	}
	if name := getenv("DOCKER_CONTEXT"); name != "" {
		return named(name), nil
	}
	dir := getenv("DOCKER_CONFIG")
	if home := getenv("HOME"); dir == "" && home != "" {
		dir = filepath.Join(home, ".docker")
	}
	if dir == "" {
		return named(""), nil
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.json")) //nolint:gosec // the reader's own file
	if errors.Is(err, fs.ErrNotExist) {
		return named(""), nil
	}
	var config struct {
		CurrentContext string `json:"currentContext"`
	}
	if err == nil {
		err = json.Unmarshal(data, &config)
	}
	if err != nil {
		return Address{}, fmt.Errorf("%w: read which engine the docker command uses: %w", stella.ErrInvalid, err)
	}
	return named(config.CurrentContext), nil
}

// At is the engine that a person means by an address or by the name of a Docker
// context. The certificates for tcp:// are those in DOCKER_CERT_PATH.
func At(words string, getenv func(string) string) Address {
	if !strings.Contains(words, "://") {
		return named(words)
	}
	a := Address{Host: words}
	if strings.HasPrefix(words, "tcp://") {
		a.TLS = getenv("DOCKER_CERT_PATH")
	}
	return a
}

func named(context string) Address {
	if context == "" || context == "default" {
		return Address{Host: defaultSocket}
	}
	return Address{Context: context}
}
