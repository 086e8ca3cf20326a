package main

import (
	"time"

	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/registry"
)

// user is who runs in the container: nobody else's number on common systems.
const user = 65532

// config says how the image runs: the daemon, with its state in a volume.
func config(version string) artifact.ImageConfig {
	return artifact.ImageConfig{
		Entrypoint: []string{"/usr/bin/stella"},
		// In a container's own network all addresses are its own; what reaches it from
		// outside, publishing a port decides.
		Cmd:          []string{"serve", "--listen", "0.0.0.0:7070"},
		Env:          []string{"PATH=/usr/bin:/bin", "HOME=/home/stella", "STELLA_STATE=/var/lib/stella"},
		User:         "65532:65532",
		WorkingDir:   "/home/stella",
		Volumes:      []string{"/var/lib/stella"},
		ExposedPorts: []string{"7070/tcp"},
		Healthcheck: &artifact.Healthcheck{
			Test:     []string{"CMD", "/usr/bin/stella", "serve", "--check", "--listen", "127.0.0.1:7070"},
			Interval: 30 * time.Second, Timeout: 10 * time.Second, StartPeriod: 10 * time.Second, Retries: 3,
		},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "Stella",
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
}

// skeleton is what every Linux program takes for granted.
func skeleton() []registry.File {
	return []registry.File{
		{Name: "etc/"},
		{Name: "etc/passwd", Mode: 0o644, Content: []byte("root:x:0:0:root:/root:/usr/sbin/nologin\nstella:x:65532:65532:Stella:/home/stella:/usr/sbin/nologin\n")},
		{Name: "etc/group", Mode: 0o644, Content: []byte("root:x:0:\nstella:x:65532:\n")},
		{Name: "etc/nsswitch.conf", Mode: 0o644, Content: []byte("passwd: files\ngroup: files\nhosts: files dns\n")},
		{Name: "home/"},
		{Name: "home/stella/", Mode: 0o700, UID: user, GID: user},
		{Name: "root/", Mode: 0o700},
		{Name: "tmp/", Mode: 0o1777},
		{Name: "usr/"},
		{Name: "usr/bin/"},
		{Name: "var/"},
		{Name: "var/lib/"},
		{Name: "var/lib/stella/", Mode: 0o700, UID: user, GID: user},
	}
}
