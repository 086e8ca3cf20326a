package configrepo

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// engineApp is someApp on an engine, with more of environment.yaml.
func engineApp(more, compose string) map[string]string {
	files := someApp()
	files["envs/prod/environment.yaml"] = "apiVersion: stella/v1\nkind: Environment\nname: prod\n" +
		"targets:\n- name: web-1\n  docker: {host: \"unix:///opt/engine/api\"}\n" + more
	files["envs/prod/app/compose.yaml"] = compose
	return files
}

// hostile are attributes of a service that are denied, with what allows each;
// empty where nothing does.
func hostile() map[string]string {
	return map[string]string{
		"privileged: true": "privileged",
		"post_start: [{command: x, privileged: true}]":                 "privileged",
		"pre_stop: [{command: x, privileged: true}]":                   "privileged",
		"network_mode: host":                                           "hostNetwork",
		"uts: host":                                                    "hostNetwork",
		"pid: host":                                                    "hostPID",
		"ipc: host":                                                    "hostIPC",
		"userns_mode: host":                                            "unconfined",
		"cgroup: host":                                                 "unconfined",
		"network_mode: \"container:other\"":                            "",
		"network_mode: other_default":                                  "",
		"pid: \"container:other\"":                                     "",
		"ipc: \"container:other\"":                                     "",
		"volumes_from: [\"container:other\"]":                          "",
		"external_links: [other]":                                      "",
		"credential_spec: {config: x}":                                 "",
		"use_api_socket: true":                                         "engineSocket",
		"volumes: [\"/var/run/docker.sock:/s\"]":                       "engineSocket",
		"volumes: [\"/run/docker.sock:/s:ro\"]":                        "engineSocket",
		"volumes: [\"/srv/shop/../../run/docker.sock:/s\"]":            "engineSocket",
		"volumes: [\"/run/podman/podman.sock:/s\"]":                    "engineSocket",
		"volumes: [{type: bind, source: /opt/engine/api, target: /s}]": "engineSocket",
		"volumes: [\"/opt/engine:/s\"]":                                "engineSocket+/opt",
		"volumes: [\"/var/run:/s\"]":                                   "engineSocket+/var/run",
		"volumes: [\"/run:/s\"]":                                       "engineSocket+/run",
		"volumes: [\"/var:/s\"]":                                       "engineSocket+/var",
		"volumes: [\"/proc:/s\"]":                                      "engineSocket+/proc",
		"volumes: [\"/:/s\"]":                                          "",
		"volumes: [\"//:/s\"]":                                         "",
		"volumes: [\"/etc:/s\"]":                                       "+/etc",
		"volumes: [\"/srv/shopping:/s\"]":                              "+/srv/shopping",
		"volumes: [\"/srv/shop/../x:/s\"]":                             "+/srv/x",
		"volumes: [{type: bind, source: /etc, target: /s, bind: {create_host_path: false}}]": "+/etc",
		"volumes: [\"./data:/s\"]":                                                     "",
		"volumes: [{type: bind, source: data, target: /s}]":                            "",
		"volumes: [{type: npipe, source: x, target: /s}]":                              "",
		"volumes: [{type: image, source: \"registry.example.com/a/b:1\", target: /s}]": "",
		"volumes: [\"/dev:/s\"]":                                                       "devices+/dev",
		"devices: [\"/dev/sda:/dev/sda\"]":                                             "devices",
		"devices: [{source: /dev/sda, target: /dev/x}]":                                "devices",
		"devices: [\"vendor.com/gpu=all\"]":                                            "devices",
		"device_cgroup_rules: [\"a *:* rwm\"]":                                         "devices",
		"gpus: all":                                                                    "devices",
		"deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}":      "devices",
		"cap_add: [SYS_ADMIN]":                                                         "capabilities",
		"cap_add: [cap_sys_ptrace]":                                                    "capabilities",
		"cap_add: [all]":                                                               "capabilities",
		"security_opt: [\"seccomp=unconfined\"]":                                       "unconfined",
		"security_opt: [\"apparmor:unconfined\"]":                                      "unconfined",
		"security_opt: [\"label:disable\"]":                                            "unconfined",
		"security_opt: [\"systempaths=unconfined\"]":                                   "unconfined",
		"security_opt: [\"no-new-privileges:false\"]":                                  "unconfined",
		"runtime: sysbox":                                                              "runtime",
		"cgroup_parent: /":                                                             "runtime",
		"logging: {driver: evil}":                                                      "plugins",
		"container_name: stella.shop.prod.web-1.7":                                     "",
		"container_name: \"a\\e[2Jb\"":                                                 "",
		"environment: {\"A\\e[2J\": x}":                                                "",
		"environment: [\"A\\e[2J=x\"]":                                                 "",
		"logging: {driver: syslog, options: {syslog-address: \"unixgram:///run/docker.sock\"}}": "engineSocket",
		"logging: {driver: syslog, options: {syslog-address: \"unix:/run/docker.sock\"}}":       "engineSocket",
		"logging: {driver: fluentd, options: {fluentd-address: \"unix:///etc/x\"}}":             "+/etc",
		"labels: {stella.environment: other}":                                                   "",
		"labels: [\"com.docker.compose.project=other\"]":                                        "",
	}
}

// shapes are the ways in which an attribute reaches a service. Each holds one %s,
// for lines that are indented by two or more.
func shapes() map[string]func(attribute string) map[string]string {
	main := func(compose string) map[string]string {
		return map[string]string{"envs/prod/app/compose.yaml": compose}
	}
	return map[string]func(string) map[string]string{
		"as it is": func(a string) map[string]string {
			return main("services:\n  web:\n    image: x\n    " + a + "\n")
		},
		"extended": func(a string) map[string]string {
			return main("services:\n  web:\n    extends: base\n  base:\n    image: registry.example.com/b:1@" + someDigest + "\n    " + a + "\n")
		},
		"extended from a file": func(a string) map[string]string {
			files := main("services:\n  web:\n    extends: {file: base.yaml, service: base}\n")
			files["envs/prod/app/base.yaml"] = "services:\n  base:\n    image: x\n    " + a + "\n"
			return files
		},
		"included": func(a string) map[string]string {
			files := main("include: [more.yaml]\n")
			files["envs/prod/app/more.yaml"] = "services:\n  web:\n    image: x\n    " + a + "\n"
			return files
		},
		"merged": func(a string) map[string]string {
			return main("x-base: &base\n  image: x\n  " + a + "\nservices:\n  web:\n    <<: *base\n")
		},
		"from a variable": func(a string) map[string]string {
			name, value, _ := strings.Cut(a, ": ")
			files := main("services:\n  web:\n    image: x\n    " + name + ": " + strings.NewReplacer(
				"host", "${H}", "privileged: true", "privileged: \"${T}\"", "/var", "${V}", "/run", "${R}", "unconfined", "${U}").Replace(value) + "\n")
			files["envs/prod/app/release.yaml"] = someApp()["envs/prod/app/release.yaml"] +
				"variables: {H: host, T: \"true\", V: /var, R: /run, U: unconfined}\n"
			return files
		},
		"of a profile": func(a string) map[string]string {
			return main("services:\n  web:\n    profiles: [on]\n    image: x\n    " + a + "\n")
		},
	}
}

// TestNothingThatIsDeniedIsRendered writes what is denied in every way that
// there is, and then allows it by its name.
func TestNothingThatIsDeniedIsRendered(t *testing.T) {
	for attribute, allowed := range hostile() {
		for shape, write := range shapes() {
			if strings.Contains(attribute, "_host_path") && shape == "from a variable" {
				continue // a key, which is not expanded
			}
			files := engineApp("bindRoots: [/srv/shop]\nprofiles: [\"on\"]\n", "")
			maps.Copy(files, write(attribute))
			_, err := renderFiles(t.Context(), files)
			var problems Problems
			if !errors.As(err, &problems) || problems[0].Line == 0 || problems[0].Field == "" || problems[0].Fix == "" {
				t.Errorf("%s, %s: got %v", attribute, shape, err)
				continue
			}
			if allowed == "" {
				continue
			}
			permission, root, _ := strings.Cut(allowed, "+")
			if permission != "" && !strings.Contains(err.Error(), "allow: ["+permission+"]") {
				t.Errorf("%s, %s: does not say what allows it: %v", attribute, shape, err)
			}
			if root == "" {
				root = "/srv/shop"
			}
			files["envs/prod/environment.yaml"] = engineApp(fmt.Sprintf("bindRoots: [%s]\nallow: [%s]\nprofiles: [\"on\"]\n", root, permission), "")["envs/prod/environment.yaml"]
			if _, err := renderFiles(t.Context(), files); err != nil {
				t.Errorf("%s, %s: is not allowed by its name: %v", attribute, shape, err)
			}
		}
	}
}

// TestNoVolumeOrNetworkIsTheMachines is the same for what services share.
func TestNoVolumeOrNetworkIsTheMachines(t *testing.T) {
	for shared, allowed := range map[string]string{
		"volumes: {vol: {driver_opts: {type: none, o: bind, device: /etc}}}":                 "+/etc",
		"volumes: {vol: {driver: local, driver_opts: {o: \"rw,rbind\", device: /}}}":         "",
		"volumes: {vol: {driver_opts: {type: none, o: bind, device: ./data}}}":               "",
		"volumes: {vol: {driver_opts: {device: /run/docker.sock, o: bind}}}":                 "engineSocket",
		"volumes: {vol: {driver_opts: {type: ext4, device: /dev/sda1}}}":                     "devices",
		"volumes: {vol: {driver_opts: {type: overlay, device: overlay, o: \"lowerdir=/\"}}}": "",
		"volumes: {vol: {driver_opts: {type: tmpfs, device: /etc, o: bind}}}":                "",
		"volumes: {vol: {driver_opts: {type: nfs, device: \":/\", o: \"bind,addr=x\"}}}":     "",
		"volumes: {vol: {driver_opts: {type: proc, device: proc}}}":                          "",
		"volumes: {vol: {driver: local-persist, driver_opts: {mountpoint: /etc}}}":           "plugins",
		"volumes: {vol: {labels: {stella.target: x}}}":                                       "",
		"networks: {n: {external: true, name: host}}":                                        "hostNetwork",
		"networks: {n: {driver: host}}":                                                      "hostNetwork",
		"networks: {n: {driver: macvlan, driver_opts: {parent: eth0}}}":                      "hostNetwork",
		"networks: {n: {driver_opts: {com.docker.network.bridge.name: br0}}}":                "hostNetwork",
		"networks: {n: {driver: weave}}":                                                     "plugins",
		"networks: {n: {ipam: {driver: evil}}}":                                              "plugins",
		"networks: {n: {labels: [\"com.docker.compose.network=x\"]}}":                        "",
	} {
		uses := "    volumes: [\"vol:/v\"]\n"
		if strings.HasPrefix(shared, "networks") {
			uses = "    networks: [n]\n"
		}
		files := engineApp("bindRoots: [/srv/shop]\n", "services:\n  web:\n"+uses+shared+"\n")
		_, err := renderFiles(t.Context(), files)
		var problems Problems
		if !errors.As(err, &problems) || problems[0].Line == 0 || problems[0].Fix == "" {
			t.Errorf("%s: got %v", shared, err)
			continue
		}
		permission, root, _ := strings.Cut(allowed, "+")
		if allowed == "" {
			continue
		}
		if root == "" {
			root = "/srv/shop"
		}
		files["envs/prod/environment.yaml"] = engineApp(fmt.Sprintf("bindRoots: [%s]\nallow: [%s]\n", root, permission), "")["envs/prod/environment.yaml"]
		if _, err := renderFiles(t.Context(), files); err != nil {
			t.Errorf("%s: is not allowed by its name: %v", shared, err)
		}
	}
}

// TestWhatIsHarmlessIsRendered holds what needs no permission.
func TestWhatIsHarmlessIsRendered(t *testing.T) {
	for _, one := range []string{
		"volumes: [\"/srv/shop/data:/s:ro\"]", "volumes: [\"/srv/shop:/s\"]", "tmpfs: [/tmp]", "volumes: [{type: tmpfs, target: /t}]",
		"cap_add: [NET_BIND_SERVICE]", "cap_drop: [ALL]", "security_opt: [\"no-new-privileges:true\"]", "pid: \"service:db\"",
		"network_mode: none", "ipc: shareable", "labels: {app: web}", "logging: {driver: json-file}", "privileged: false",
	} {
		files := engineApp("bindRoots: [/srv/shop]\n", "services:\n  web:\n    "+one+"\n  db:\n    image: registry.example.com/db:1@"+someDigest+"\n")
		if _, err := renderFiles(t.Context(), files); err != nil {
			t.Errorf("%s: %v", one, err)
		}
	}
}

// TestAHostHasNoPathsOfItsMachine looks that an engine beside it changes nothing
// for a bare host.
func TestAHostHasNoPathsOfItsMachine(t *testing.T) {
	files := engineApp("- name: edge\n  host: {root: /srv/edge}\nbindRoots: [/srv/shop]\n", "services:\n  web:\n    volumes: [\"/srv/shop:/s\"]\n")
	_, err := renderFiles(t.Context(), files)
	want := "envs/prod/app/compose.yaml:3:14: services.web.volumes: mounts a path outside the app; use a named volume, or configs for files of the app"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// FuzzComposePolicy reads any Compose file for an engine without permissions:
// what is rendered holds nothing that is denied.
func FuzzComposePolicy(f *testing.F) {
	for attribute := range hostile() {
		f.Add("services:\n  web:\n    " + attribute + "\n")
	}
	f.Add("services:\n  web:\n    volumes: [vol:/v]\nvolumes: {vol: {driver_opts: {type: none, o: bind, device: /etc}}}\n")
	f.Fuzz(func(t *testing.T, compose string) {
		d, err := renderFiles(t.Context(), engineApp("", compose))
		if err != nil {
			return
		}
		for _, r := range d.Targets[0].State.Resources {
			text, err := json.Marshal(r.Fields)
			if err != nil {
				t.Fatal(err)
			}
			for _, denied := range []string{
				`"privileged":true`, `"network_mode":"host"`, `"pid":"host"`, `"ipc":"host"`, `"type":"bind"`, `"use_api_socket":true`,
				`"devices":[`, `"gpus":`, `"SYS_ADMIN"`, `"driver":"host"`, `"container:`, `"credential_spec"`, `"runtime"`, `"cgroup_parent"`,
			} {
				// What is text of the app's own may read like it.
				if strings.Contains(string(text), denied) && !strings.Contains(string(text), `\"`) {
					t.Errorf("%s of %s in %s", denied, r.ID, text)
				}
			}
		}
	})
}

const canary = "c4nary-of-the-database"

// secretApp has a secret of a file, which is not in app/.
func secretApp(secret string) map[string]string {
	files := engineApp("", "services:\n  web:\n    secrets:\n    - db\n    - {source: db, target: /etc/db, mode: 0400, uid: \"5\"}\nsecrets:\n  db:\n    file: ../secrets/db\n")
	files["envs/prod/secrets/db"] = secret
	return files
}

func TestSecretsTravelByContent(t *testing.T) {
	d, err := renderFiles(t.Context(), secretApp(canary))
	if err != nil {
		t.Fatal(err)
	}
	r := d.Targets[0].State.Resources[0]
	want := map[string]any{
		"/run/secrets/db": map[string]any{"content": canary, "mode": "0444", "uid": "", "gid": ""},
		"/etc/db":         map[string]any{"content": canary, "mode": "0400", "uid": "5", "gid": ""},
	}
	if diff := cmp.Diff(want, r.Fields["secrets"]); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/secrets/~1etc~1db/content", "/secrets/~1run~1secrets~1db/content"}, r.Secrets); diff != "" {
		t.Errorf("pointers (-want +got):\n%s", diff)
	}
	for _, other := range []string{"another", "\xff\xfe"} {
		now, err := renderFiles(t.Context(), secretApp(other))
		if err != nil {
			t.Fatal(err)
		}
		if now.Digest != d.Digest {
			t.Errorf("the digest tells of the secret %q", other)
		}
		if cmp.Equal(now.Targets[0].State.Resources[0].Fields, r.Fields) {
			t.Error("a changed secret does not show in the fields")
		}
	}
	moved := secretApp(canary)
	moved["envs/prod/app/compose.yaml"] = strings.Replace(moved["envs/prod/app/compose.yaml"], "/etc/db", "/etc/db2", 1)
	if now, err := renderFiles(t.Context(), moved); err != nil || now.Digest == d.Digest {
		t.Errorf("where a secret is mounted is not part of the digest: %v", err)
	}
}

// TestSecretsAreNowhereElse refuses them where they would be rolled back or shown.
func TestSecretsAreNowhereElse(t *testing.T) {
	for written, want := range map[string]string{
		"file: ./db":          "is not below envs/prod/secrets",
		"file: ../../db":      "is not below envs/prod/secrets",
		"file: /etc/shadow":   "is an absolute path",
		"file: ../secrets/no": "there is no such file",
		"file: ../secrets":    "is not below envs/prod/secrets",
		"external: true":      "is external",
		"content: " + canary:  "not allowed",
		"environment: NONE":   "NONE",
	} {
		files := secretApp(canary)
		files["envs/prod/app/db"] = canary
		files["envs/prod/app/compose.yaml"] = strings.Replace(files["envs/prod/app/compose.yaml"], "file: ../secrets/db", written, 1)
		_, err := renderFiles(t.Context(), files)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: got %v", written, err)
		}
	}
	e := &Environment{Secrets: SecretFiles{"a": canary}}
	shown, err := json.Marshal(e)
	if all := fmt.Sprintf("%v %+v %#v %s", e, e, e.Secrets, shown); err != nil || strings.Contains(all, canary) {
		t.Errorf("the value is shown: %s %v", all, err)
	}
}
