package docker

// attribute is one field of a service: how it is asked of an engine, and how it
// is read of a container. Both ends are blueprints, so that a container that is
// asked for and one that is there are read by the same code.
type attribute struct {
	field string // as configrepo renders it
	// set puts what is asked into the blueprint. It is never called with null. Nil
	// where no field of Compose asks for it.
	set func(c *compiler, path string, v any)
	// get reads the field of a blueprint in canonical JSON; nil where there is
	// nothing, or nothing but what an engine fills in.
	get func(s *side) any
	// bag is a list whose order means nothing.
	bag bool
	// since is the version of the engine's API that knows it; empty for all.
	since string
	// asIs is read back as it is, however it was asked.
	asIs bool
}

// side is one of the two that are compared.
type side struct {
	bp      *blueprint
	service string // its name
	asked   map[string]any
	scope   scope
	image   imageFacts
	engine  engineFacts
	// fileDirs are mounted for configs and secrets alone: no field asks for them.
	fileDirs []string
}

func (s *side) has(field string) bool { return s.asked[field] != nil }

// attributes is the table of all of them.
func attributes() []attribute {
	var all []attribute
	for _, part := range [][]attribute{
		processAttributes(), namespaceAttributes(), networkAttributes(), mountAttributes(), limitAttributes(), foreignAttributes(),
	} {
		all = append(all, part...)
	}
	return all
}

// ignoredFields ask nothing of a container: the driver reads them itself, or
// nobody has to.
func ignoredFields() map[string]bool {
	return map[string]bool{
		"dependsOn": true, "container_name": true, // by the driver
		"pull_policy": true, "pull_refresh_after": true, // a release is digests: there is nothing to pull again
		"attach": true, "develop": true, // of the terminal of 'docker compose up' and 'watch'
		"profiles": true, "extends": true, "env_file": true, "label_file": true, // by whoever renders
	}
}

// refusedFields are those of the Compose Specification that can not be carried
// out, and why.
func refusedFields() map[string]string {
	const windows = "is for Windows only"
	return map[string]string{
		"build": "is not supported: a release is made of digests", "dockerfile": "is not supported: a release is made of digests",
		"cpu_count": windows, "cpu_percent": windows, "isolation": windows, "credential_spec": windows,
		"links": "is not supported: use networks and their aliases", "external_links": "is not supported: use a network that is external",
		"net": "is not supported: use network_mode", "log_driver": "is not supported: use logging", "log_opt": "is not supported: use logging",
		"volumes_from": "is not supported: name the volumes under volumes", "volume_driver": "is not supported: name the driver at the volume",
		"models": "is not supported", "provider": "is not supported: nothing of it runs in a container", "umask": "is not supported",
		"use_api_socket": "is not supported: it hands the engine to the container",
		"pre_start":      "is not supported: use a service with x-stella: {job: pre-deploy}",
		"post_start":     "is not supported: use a service with x-stella: {job: post-deploy}",
		"pre_stop":       "is not supported: let the program do it on its stop_signal",
	}
}

// textField is a field that is one text of a blueprint.
func textField(field string, at func(bp *blueprint) *string) attribute {
	return attribute{
		field: field,
		set:   func(c *compiler, path string, v any) { *at(c.bp) = c.text(path, v) },
		get:   func(s *side) any { return orNone(*at(s.bp)) },
	}
}

func flagField(field string, at func(bp *blueprint) *bool) attribute {
	return attribute{
		field: field,
		set:   func(c *compiler, path string, v any) { *at(c.bp) = c.flag(path, v) },
		get:   func(s *side) any { return orNone(*at(s.bp)) },
	}
}

func wholeField(field string, at func(bp *blueprint) *int64) attribute {
	return attribute{
		field: field,
		set:   func(c *compiler, path string, v any) { *at(c.bp) = c.whole(path, v) },
		get:   func(s *side) any { return numberOf(*at(s.bp)) },
	}
}

// sizeField is a number of bytes, which Compose renders as text.
func sizeField(field string, at func(bp *blueprint) *int64) attribute {
	a := wholeField(field, at)
	a.get = func(s *side) any { return sizeOf(*at(s.bp)) }
	return a
}

func listField(field string, at func(bp *blueprint) *[]string) attribute {
	return attribute{
		field: field,
		set:   func(c *compiler, path string, v any) { *at(c.bp) = c.texts(path, v) },
		get:   func(s *side) any { return listOf(*at(s.bp)) },
	}
}

func bagField(field string, at func(bp *blueprint) *[]string) attribute {
	a := listField(field, at)
	a.bag = true
	return a
}

func pairsField(field string, at func(bp *blueprint) *map[string]string) attribute {
	return attribute{
		field: field,
		set:   func(c *compiler, path string, v any) { *at(c.bp) = c.pairs(path, v) },
		get:   func(s *side) any { return pairsOf(*at(s.bp)) },
	}
}
