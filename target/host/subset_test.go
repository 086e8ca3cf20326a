//go:build linux

package host

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
)

const someImage = "registry.example.com/shop/api:1@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// resources reads resources from JSON, as they come from rendering.
func resources(t testing.TB, doc string) stella.State {
	t.Helper()
	var m map[string]map[string]any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(doc, "IMAGE", someImage)), &m); err != nil {
		t.Fatal(err)
	}
	var s stella.State
	for id, f := range m {
		s.Resources = append(s.Resources, stella.Resource{ID: stella.ResourceID(id), Fields: f})
	}
	return s
}

func TestWhatABareHostDoes(t *testing.T) {
	t.Parallel()
	h := &Host{chroots: true}
	d, err := h.parseDesired(resources(t, `{
		"volume/data": {"name": "data"},
		"service/db": {"image": "IMAGE", "healthcheck": {"test": ["CMD-SHELL", "true"]}, "volumes": [{"type": "volume", "source": "data", "target": "/data", "readOnly": true}]},
		"service/web": {"image": "IMAGE", "entrypoint": ["/a"], "command": [], "environment": {"A": "b"}, "user": "1:2", "workingDir": "/x",
			"stopSignal": "SIGINT", "stopGracePeriodSeconds": 1.5, "restart": "on-failure:3", "labels": {"a": "b"},
			"healthcheck": {"test": ["CMD", "x"], "intervalSeconds": 1, "timeoutSeconds": 1, "startPeriodSeconds": 1, "startIntervalSeconds": 1, "retries": 1},
			"ports": [{"target": 80, "published": "80", "protocol": "tcp", "hostIP": "127.0.0.1"}, {"target": 53, "published": "53", "protocol": "udp", "hostIP": ""}],
			"configs": {"/etc/a": {"content": "x", "mode": "0400", "uid": "1", "gid": "2"}, "/etc/b": {"contentBase64": "/w==", "digest": "sha256:a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89"}},
			"dependsOn": {"db": {"condition": "service_healthy"}, "elsewhere": {"condition": "service_started"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.services) != 2 || d.services[1].configs[1].content[0] != 0xff || d.services[1].grace() != 1_500_000_000 {
		t.Errorf("%+v", d.services)
	}
}

func TestWhatABareHostRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, doc string
		root      bool
		class     error
		want      []string
	}{
		{
			"every field that it does not know, at once", `{"service/web": {"image": "IMAGE", "privileged": true, "devices": [], "network_mode": "host"}, "service/api": {"image": "IMAGE", "build": {}, "cap_add": ["ALL"]}}`,
			true, stella.ErrUnsupported,
			[]string{
				"service/api: build: not supported on a bare host; name an image that was pushed",
				"service/api: cap_add: not supported on a bare host; remove it, or use a docker target",
				"service/web: devices: not supported on a bare host; remove it, or use a docker target",
				"service/web: network_mode: not supported on a bare host; services share the machine's network; remove it",
				"service/web: privileged: not supported on a bare host; remove it, or use a docker target",
			},
		},
		{
			"fields inside of fields, by the names of Compose",
			`{"service/web": {"image": "IMAGE", "ports": [{"target": 1, "published": "1", "mode": "host"}], "dependsOn": {"db": {"condition": "service_started", "restart": true}}, "healthcheck": {"test": ["NONE"], "odd": 1}, "volumes": [{"type": "volume", "source": "d", "target": "/d", "nocopy": true}], "configs": {"/a": {"content": "", "template_driver": "x"}}}}`,
			true, stella.ErrUnsupported,
			[]string{
				"configs./a.template_driver: not supported", "depends_on.db.restart: not supported", "healthcheck.odd: not supported",
				"ports[0].mode: not supported", "volumes[0].nocopy: not supported",
			},
		},
		{"another kind of resource", `{"network/front": {}}`, true, stella.ErrUnsupported, []string{"network/front: network: not supported"}},
		{"a hostile name", `{"service/../x": {"image": "IMAGE"}, "service/A": {}, "service/": {}}`, true, stella.ErrInvalid, []string{"service/../x: invalid", "service/A: invalid", "service/: invalid"}},
		{"an image without a digest", `{"service/web": {"image": "registry.example.com/a:1"}}`, true, stella.ErrInvalid, []string{"image: has no digest"}},
		{"no image", `{"service/web": {}}`, true, stella.ErrInvalid, []string{"service/web: invalid: image"}},
		{"a port that is published as another", `{"service/web": {"image": "IMAGE", "ports": [{"target": 80, "published": "8080", "protocol": "tcp"}]}}`, true, stella.ErrUnsupported, []string{`ports: 80 published as "8080": not supported on a bare host; the process listens on the machine's own port: publish 80:80`}},
		{"a port that is published as any", `{"service/web": {"image": "IMAGE", "ports": [{"target": 80, "published": ""}]}}`, true, stella.ErrUnsupported, []string{`ports: 80 published as ""`}},
		{"a protocol", `{"service/web": {"image": "IMAGE", "ports": [{"target": 80, "published": "80", "protocol": "sctp"}]}}`, true, stella.ErrUnsupported, []string{"sctp"}},
		{"a port out of range", `{"service/web": {"image": "IMAGE", "ports": [{"target": 65616, "published": "80"}]}}`, true, stella.ErrInvalid, []string{"ports: target"}},
		{"two services on one port", `{"service/a": {"image": "IMAGE", "ports": [{"target": 80, "published": "80"}]}, "service/b": {"image": "IMAGE", "ports": [{"target": 80, "published": "80", "hostIP": "127.0.0.1"}]}}`, true, stella.ErrInvalid, []string{"service/a: ports: 80/tcp is also published by service/b"}},
		{"a bind mount", `{"service/web": {"image": "IMAGE", "volumes": [{"type": "bind", "source": "/etc", "target": "/x"}]}}`, true, stella.ErrUnsupported, []string{`volumes: type "bind"`}},
		{"an anonymous volume", `{"service/web": {"image": "IMAGE", "volumes": [{"type": "volume", "source": "", "target": "/x"}]}}`, true, stella.ErrUnsupported, []string{"anonymous volume"}},
		{"a volume that nobody declares", `{"service/web": {"image": "IMAGE", "volumes": [{"type": "volume", "source": "data", "target": "/x"}]}}`, true, stella.ErrInvalid, []string{"data is not a volume of this target"}},
		{"a volume with options", `{"volume/data": {"name": "data", "driver_opts": {"type": "none", "o": "bind", "device": "/"}}}`, true, stella.ErrUnsupported, []string{"volume/data: driver_opts: not supported"}},
		{"volumes where the machine's things go", `{"volume/d": {}, "service/web": {"image": "IMAGE", "volumes": [{"type": "volume", "source": "d", "target": "/dev/shm"}]}, "service/api": {"image": "IMAGE", "volumes": [{"type": "volume", "source": "d", "target": "/"}]}, "service/c": {"image": "IMAGE", "volumes": [{"type": "volume", "source": "d", "target": "/a/../../etc"}]}}`, true, stella.ErrInvalid, []string{"/dev is not the image's", `target "/"`, `target "/a/../../etc"`}},
		{"configs that lead away", `{"service/web": {"image": "IMAGE", "configs": {"../../etc/cron.d/x": {"content": ""}}}, "service/api": {"image": "IMAGE", "configs": {"/proc/self/mem": {"content": ""}}}}`, true, stella.ErrInvalid, []string{`target "../../etc/cron.d/x"`, `/proc is not the image's`}},
		{"a config that is not what its digest says", `{"service/web": {"image": "IMAGE", "configs": {"/a": {"content": "x", "digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}}}`, true, stella.ErrTampered, []string{"/a: the content is not what its digest says"}},
		{"config modes that give rights away", `{"service/web": {"image": "IMAGE", "configs": {"/a": {"content": "x", "mode": "4755"}}}, "service/api": {"image": "IMAGE", "configs": {"/a": {"content": "x", "mode": "0666"}}}}`, true, stella.ErrInvalid, []string{"service/api: configs: /a: mode", "service/web: configs: /a: mode"}},
		{"config owners", `{"service/web": {"image": "IMAGE", "configs": {"/a": {"content": "x", "uid": "root"}}}}`, true, stella.ErrInvalid, []string{"uid and gid: want numbers"}},
		{"a circle", `{"service/a": {"image": "IMAGE", "dependsOn": {"b": {"condition": "service_started"}}}, "service/b": {"image": "IMAGE", "dependsOn": {"a": {"condition": "service_started"}}}}`, true, stella.ErrInvalid, []string{"a → b → a"}},
		{"a condition", `{"service/a": {"image": "IMAGE", "dependsOn": {"b": {"condition": "lucky"}}}}`, true, stella.ErrInvalid, []string{`depends_on.b.condition: "lucky"`}},
		{"a restart policy", `{"service/a": {"image": "IMAGE", "restart": "sometimes"}}`, true, stella.ErrInvalid, []string{"restart: want"}},
		{"a stop signal", `{"service/a": {"image": "IMAGE", "stopSignal": "SIGSTOP"}}`, true, stella.ErrInvalid, []string{"stop_signal"}},
		{"durations", `{"service/a": {"image": "IMAGE", "stopGracePeriodSeconds": 1e12}, "service/b": {"image": "IMAGE", "healthcheck": {"intervalSeconds": -1}}, "service/c": {"image": "IMAGE", "healthcheck": {"retries": 1.5}}}`, true, stella.ErrInvalid, []string{"stop_grace_period: want", "healthcheck.interval: want", "healthcheck.retries: want"}},
		{"a wrong type, without its value", `{"service/a": {"image": "IMAGE", "environment": {"PASSWORD": 12345}}}`, true, stella.ErrInvalid, []string{"service/a: environment: want string, not number"}},
		{"NUL bytes", "{\"service/a\": {\"image\": \"IMAGE\", \"environment\": {\"A\": \"b\\u0000c\"}}, \"service/b\": {\"image\": \"IMAGE\", \"command\": [\"\\u0000\"]}}", true, stella.ErrInvalid, []string{"service/a: environment", "service/b: command: has a NUL byte"}},
		{
			"without root, what needs it",
			`{"volume/d": {}, "service/a": {"image": "IMAGE", "user": "app", "volumes": [{"type": "volume", "source": "d", "target": "/d"}], "configs": {"/a": {"content": "", "gid": "5"}}}}`,
			false, stella.ErrUnsupported,
			[]string{"service/a: volumes: not supported on a bare host without root", "service/a: user: not supported", "service/a: configs: uid and gid: not supported"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &Host{chroots: tt.root, uid: 1000}
			_, err := h.parseDesired(resources(t, tt.doc))
			if !errors.Is(err, tt.class) {
				t.Fatalf("%v, want %v", err, tt.class)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in:\n%v", want, err)
				}
			}
			if got := strings.Count(err.Error(), "\n") + 1; got != len(tt.want) {
				t.Errorf("%d findings, want %d:\n%v", got, len(tt.want), err)
			}
			if strings.Contains(err.Error(), "12345") {
				t.Error("the error has a value")
			}
		})
	}
}

func FuzzDesired(f *testing.F) {
	f.Add(`{"image": "` + someImage + `", "environment": {"A": "b"}, "ports": [{"target": 80, "published": "80"}], "restart": "on-failure:3"}`)
	f.Add(`{"image": 1, "configs": {"/a": {"contentBase64": "!"}}, "volumes": [null], "dependsOn": []}`)
	f.Add(`{"healthcheck": {"retries": 1e300}, "stopGracePeriodSeconds": -0, "stopSignal": "RTMIN+99999999999"}`)
	f.Add(`{"ports": [{"target": -1}, {"target": 1e9, "hostIP": "::ffff:127.0.0.1%eth0"}], "user": "\u0000"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var m map[string]any
		if json.Unmarshal([]byte(text), &m) != nil {
			return
		}
		h := &Host{chroots: true}
		d, err := h.parseDesired(stateOf(stella.Resource{ID: "service/web", Fields: m}))
		if err != nil {
			for _, r := range err.Error() {
				if r == 0x1b {
					t.Fatalf("%q has an escape", err)
				}
			}
			return
		}
		s := d.services[0]
		if _, err := releaseName(s); err != nil {
			t.Fatal(err)
		}
		if s.grace() < 0 || s.image.Digest == "" {
			t.Fatalf("%+v", s)
		}
		for _, c := range s.configs {
			if checkInside(c.path) != nil || c.mode&^0o755 != 0 {
				t.Fatalf("config %+v", c)
			}
		}
	})
}
