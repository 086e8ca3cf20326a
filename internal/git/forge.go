package git

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/stella-ops/stella/internal/git/wire"
)

// CompareURL returns where a pull request from a branch to base can be opened,
// for the remote at a URL; empty where the forge can not be told by its host's
// name, as for GitHub Enterprise. It has no credentials and is always https.
// Base and branch may be full names of refs.
func CompareURL(remote, base, branch string) string {
	ep, err := wire.ParseURL(remote, nil)
	base, branch = strings.TrimPrefix(base, "refs/heads/"), strings.TrimPrefix(branch, "refs/heads/")
	if err != nil || base == "" || branch == "" || ep.Scheme == "file" || ep.Scheme == "http" {
		return ""
	}
	host, path := webHost(ep), ep.Path
	if ep.Scheme == "https" {
		if path, err = url.PathUnescape(path); err != nil {
			return ""
		}
	}
	dirs := strings.Split(strings.TrimSuffix(strings.Trim(path, "/"), ".git"), "/")
	if slices.ContainsFunc(dirs, func(d string) bool { return d == "" || d == "." || d == ".." }) {
		return ""
	}
	at := func(more string) string { return "https://" + host + "/" + escaped(dirs) + more }
	compare := "/compare/" + escaped(strings.Split(base, "/")) + "..." + escaped(strings.Split(branch, "/"))
	pair := len(dirs) == 2
	switch name, _, _ := strings.Cut(host, ":"); {
	case name == "github.com" && pair:
		return at(compare + "?expand=1")
	case (name == "gitlab.com" || strings.HasPrefix(name, "gitlab.")) && len(dirs) >= 2:
		return at("/-/merge_requests/new?") + url.Values{"merge_request[source_branch]": {branch}, "merge_request[target_branch]": {base}}.Encode()
	case (name == "codeberg.org" || strings.HasPrefix(name, "gitea.") || strings.HasPrefix(name, "forgejo.")) && pair:
		return at(compare)
	case name == "bitbucket.org" && pair:
		return at("/pull-requests/new?") + url.Values{"source": {branch}, "dest": {base}}.Encode()
	case name == "dev.azure.com":
		if dirs = azureDirs(dirs); dirs != nil {
			return at("/pullrequestcreate?") + url.Values{"sourceRef": {branch}, "targetRef": {base}}.Encode()
		}
	}
	return ""
}

// CompareURL is the function of that name for this remote.
func (r *Repo) CompareURL(base, branch string) string { return CompareURL(r.opts.URL, base, branch) }

// webHost is the host, with its port where it is not the usual one, of the pages
// that belong to a remote. The port of an ssh remote is not theirs.
func webHost(ep *wire.Endpoint) string {
	host := strings.TrimSuffix(strings.ToLower(ep.Host), ".")
	if ep.Scheme == "ssh" {
		// Hosts that speak ssh under another name.
		for _, prefix := range []string{"ssh.", "altssh."} {
			if rest, ok := strings.CutPrefix(host, prefix); ok && slices.Contains([]string{"github.com", "gitlab.com", "bitbucket.org", "dev.azure.com"}, rest) {
				return rest
			}
		}
		return host
	}
	const https = 443
	if ep.Port != 0 && ep.Port != https {
		host += ":" + strconv.Itoa(ep.Port)
	}
	return host
}

// azureDirs returns organization/project/_git/repository; nil for what is none.
func azureDirs(dirs []string) []string {
	switch {
	case len(dirs) == 4 && dirs[0] == "v3": // by ssh
		return []string{dirs[1], dirs[2], "_git", dirs[3]}
	case len(dirs) == 4 && dirs[2] == "_git", len(dirs) == 3 && dirs[1] == "_git":
		return dirs
	}
	return nil
}

// escaped joins the parts of a path. Slashes within branch names stay: forges
// want them so.
func escaped(parts []string) string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = url.PathEscape(p)
	}
	return strings.Join(out, "/")
}
