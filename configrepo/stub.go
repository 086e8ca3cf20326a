package configrepo

import (
	"context"
	"errors"
	"os"

	stella "github.com/stella-ops/stella"
)

var errSoon = errors.New("not written yet")

// ReadFiles returns every file below dirs.
func ReadFiles(ctx context.Context, t Tree, dirs ...string) ([]File, error) { return nil, errSoon }

// DirTree is a working copy.
func DirTree(root *os.Root) Tree { return nil }

// ReadProject reads stella.yaml.
func ReadProject(ctx context.Context, t Tree) (*Project, error) { return nil, errSoon }

// Environments lists the environments.
func Environments(ctx context.Context, t Tree, p *Project) ([]EnvironmentRef, error) {
	return nil, errSoon
}

// ReadEnvironment reads environment.yaml.
func ReadEnvironment(ctx context.Context, t Tree, p *Project, name stella.EnvName) (*Environment, error) {
	return nil, errSoon
}

// ReadRelease reads release.yaml.
func ReadRelease(ctx context.Context, t Tree, p *Project, name stella.EnvName) (*ReleaseFile, error) {
	return nil, errSoon
}

// ReadBaseline reads a baseline.
func ReadBaseline(ctx context.Context, t Tree, p *Project, name stella.EnvName) (*Baseline, error) {
	return nil, errSoon
}

// Validate checks everything.
func Validate(ctx context.Context, t Tree) error { return errSoon }

// SetRelease edits release.yaml.
func SetRelease(src []byte, version string, components map[string]stella.Artifact) ([]byte, error) {
	return nil, errSoon
}

// PinDigests edits release.yaml.
func PinDigests(src []byte, resolve func(stella.Artifact) (stella.Artifact, error)) ([]byte, error) {
	return nil, errSoon
}

// Schema returns the JSON Schema.
func Schema(kind string) ([]byte, error) { return nil, errSoon }
