package cli

import (
	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

type registryRestoreOptions struct {
	app   *App
	image string
	from  string
	force bool
}

func newRegistryRestoreCmd(a *App) *cobra.Command {
	o := &registryRestoreOptions{app: a}
	cmd := &cobra.Command{
		Use:   "restore --artifact IMAGE [--from backup|PLACE]",
		Short: "Put an image back into the registry that lost it",
		Long: "Copy an image by its digest from the backup that stella.yaml names, or from another place, back into its own\n" +
			"registry, read all of it back, and give it its tag again. An image that is named by its tag alone is the one that\n" +
			"deployments had under it. A tag that names something else by now is left alone, and nothing is written, unless\n" +
			"--force moves it. Repeated it does no harm.",
		Example: "  stella registry restore --artifact registry.example.com/shop/api:2.3.0 --from backup\n" +
			"  stella registry restore --artifact registry.example.com/shop/api@sha256:4f0c… --from oci:/mnt/images",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&o.image, "artifact", "", "the `image` to restore")
	f.StringVar(&o.from, "from", reconciler.FromBackup, "`place` of the copy: backup, registry/prefix or oci:/path")
	f.BoolVar(&o.force, "force", false, "move the tag where it names something else by now")
	if err := cmd.MarkFlagRequired("artifact"); err != nil {
		panic(err) // the flag is five lines above
	}
	return exits(cmd, exitsOfReading())
}

func (o *registryRestoreOptions) run(cmd *cobra.Command) error {
	a, err := stella.ParseArtifact(o.image)
	if err != nil {
		return usage(cmd, "%v", err)
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	o.app.progress().Doing("restoring " + a.String())
	r, err := eng.RestoreArtifact(cmd.Context(), a, o.from, o.force)
	if err != nil {
		return err
	}
	return o.app.print(view{
		doc: struct {
			SchemaVersion int `json:"schemaVersion"`
			artifact.Restored
		}{1, r},
		names: []string{r.Image.String()},
		page: func(p *page) {
			switch {
			case r.Copied && r.Tagged:
				p.line(term.Good, "%s is back, from %s, and read back whole", r.Image, r.From)
			case r.Copied:
				p.line(term.Good, "%s is back, from %s, and read back whole; its tag is as it was", r.Image, r.From)
			case r.Tagged:
				p.line(term.Good, "%s was there; its tag names it again", r.Image)
			default:
				p.line(term.Plain, "%s is there already", r.Image)
			}
		},
	})
}
