package configrepo

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// composeProjectVariable is by which a .env file names the project.
const composeProjectVariable = "COMPOSE_PROJECT_NAME"

// project is the name of the Compose project that the user's file runs as: what
// .env says, else the file's own name, else its directory's; see
// https://docs.docker.com/compose/how-tos/project-name/.
func (im *importer) project(c *checker) string {
	for _, name := range []string{im.dotEnv[composeProjectVariable], im.written(c), path.Base(im.o.WorkingDir)} {
		if name = projectOf(name); name != "" {
			return name
		}
	}
	return ""
}

func (im *importer) written(c *checker) string {
	for _, s := range c.order {
		if name := child(s.doc.root, "name"); name != nil {
			return c.text(name)
		}
	}
	return ""
}

// projectOf is a name as Compose makes a project's of it.
func projectOf(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return -1
	}, strings.ToLower(name))
	return strings.TrimLeft(name, "-_")
}

// starterEngine is the driver of a target that the app runs on already.
func starterEngine(o StarterOptions, app *starter) string {
	text := fmt.Sprintf("  docker: {host: %s, project: %s}\n", strconv.Quote(o.Engine), yamlName(app.project))
	if app.binds {
		text += fmt.Sprintf("bindRoots: [%s]   # services may mount what is below\n", strconv.Quote(o.WorkingDir))
	}
	return text
}
