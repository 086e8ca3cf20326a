// Package examples holds a config repository as people write it, for quickstart,
// tests and readers: one app of one service "web" in the environments staging,
// with one target, and production, with two, and an app of three services in the
// environment docker, with an engine as target. Start with [Files].
//
// It renders as it is. To run it somewhere, replace what is of one machine: the
// registry 127.0.0.1:5000, the ports 8080, 8081, 8082 and 8088, and the roots below
// /srv/shop; each stands in the files exactly so and nothing else contains it.
// It knows nothing of stella's code.
package examples

import (
	"embed"
	"io/fs"
)

//go:embed stella.yaml envs
var files embed.FS

// Files returns the repository, with stella.yaml at the top.
func Files() fs.FS { return files }
