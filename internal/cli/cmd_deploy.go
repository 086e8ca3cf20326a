package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

type deployOptions struct {
	app *App
	environmentFlag
	changeFlags
	artifacts  []string
	version    string
	deployment string
}

func newDeployCmd(a *App) *cobra.Command {
	o := &deployOptions{app: a, changeFlags: changeFlags{takesPull: true}}
	cmd := &cobra.Command{
		Use:   "deploy ENV --artifact [COMPONENT=]IMAGE...",
		Short: "Bring new images, or a recorded deployment, to an environment",
		Long: "Resolve images to digests, check that the registry has them, commit them to release.yaml\n" +
			"and bring the environment there, verified; or bring a recorded deployment back.",
		Example: "  stella deploy production --artifact registry.example.com/shop/api:2.4.0\n" +
			"  stella deploy production --artifact api=registry.example.com/shop/api:2.4.0 --artifact worker=registry.example.com/shop/worker:2.4.0 --version 2.4.0\n" +
			"  stella deploy production --deployment production-41",
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.environmentFlag.add(cmd)
	o.changeFlags.add(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&o.artifacts, "artifact", nil, "`[COMPONENT=]IMAGE` to deploy; may be repeated")
	f.StringVar(&o.version, "version", "", "`version` of the release (default: the tag of a single image)")
	f.StringVar(&o.deployment, "deployment", "", "bring this recorded `deployment` back instead of images")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfChange())
}

func (o *deployOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	opts, err := o.options(cmd)
	if err != nil {
		return err
	}
	req := reconciler.DeployRequest{Environment: env, Version: o.version, Deployment: o.deployment}
	if req.Artifacts, err = o.images(cmd); err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	return o.app.runChange(cmd.Context(), env, opts, func(ctx context.Context, opts reconciler.Options) (reconciler.Outcome, error) {
		req.Options = opts
		return eng.Deploy(ctx, req)
	})
}

// images parses --artifact. Exactly one of images and --deployment is wanted.
func (o *deployOptions) images(cmd *cobra.Command) (map[string]stella.Artifact, error) {
	switch {
	case len(o.artifacts) == 0 && o.deployment == "":
		return nil, usage(cmd, "deploy needs --artifact or --deployment")
	case len(o.artifacts) > 0 && o.deployment != "":
		return nil, usage(cmd, "--artifact and --deployment exclude each other")
	}
	images := map[string]stella.Artifact{}
	for _, arg := range o.artifacts {
		component, ref, named := strings.Cut(arg, "=")
		if !named {
			component, ref = "", arg
		} else if _, err := stella.ParseName(component); err != nil {
			return nil, usage(cmd, "--artifact %q: want COMPONENT=IMAGE or IMAGE", arg)
		}
		artifact, err := stella.ParseArtifact(ref)
		if err != nil {
			return nil, stella.WithHint(err, "name it as 'registry.example.com/shop/api:2.4.0'")
		}
		if _, twice := images[component]; twice {
			return nil, usage(cmd, "--artifact %q: give each image its component, COMPONENT=IMAGE, and each component once", arg)
		}
		images[component] = artifact
	}
	return images, nil
}

// runChange is what deploy and rollback do with a request.
func (a *App) runChange(ctx context.Context, env stella.EnvName, o reconciler.Options, do request) error {
	if o.DryRun {
		return a.dryRun(ctx, env, o, do)
	}
	outcome, err := a.change(ctx, env, o, do)
	return a.printOutcome(env, outcome, err)
}
