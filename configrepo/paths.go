package configrepo

import (
	"path"

	stella "github.com/stella-ops/stella"
)

// ProjectPath is where the Project is read from, whatever its root.
const ProjectPath = "stella.yaml"

// EnvironmentsPath returns the directory of all environments.
func EnvironmentsPath(p *Project) string { return path.Join(p.Root, "envs") }

// EnvironmentDir returns the directory of an environment.
func EnvironmentDir(p *Project, name stella.EnvName) string {
	return path.Join(EnvironmentsPath(p), string(name))
}

// EnvironmentPath returns the path of an environment's environment.yaml.
func EnvironmentPath(p *Project, name stella.EnvName) string {
	return path.Join(EnvironmentDir(p, name), "environment.yaml")
}

// AppPath returns the directory of what a rollback restores.
func AppPath(p *Project, name stella.EnvName) string {
	return path.Join(EnvironmentDir(p, name), "app")
}

// secretsName is the directory of an environment's secrets, beside its app.
const secretsName = "secrets"

// SecretsPath returns the directory of an environment's secrets: not rolled
// back, since an old release runs with today's.
func SecretsPath(p *Project, name stella.EnvName) string {
	return path.Join(EnvironmentDir(p, name), secretsName)
}

// ReleasePath returns the path of an environment's release.yaml.
func ReleasePath(p *Project, name stella.EnvName) string {
	return path.Join(AppPath(p, name), "release.yaml")
}

// BaselinePath returns the path of an environment's baseline.
func BaselinePath(p *Project, name stella.EnvName) string {
	return path.Join(p.Root, "baselines", string(name)+".yaml")
}
