package main

import (
	"errors"

	"github.com/spf13/cobra"

	"gpumedic/localize"
)

func localizeCommand() *cobra.Command {
	var stdio bool
	cmd := &cobra.Command{
		Use:   "localize --stdio",
		Short: "plans communication tests until the bad node or link is found",
		Long: "localize says which groups of nodes to test next and, from the outcomes, who is bad.\n" +
			"It talks on standard input and output, one JSON object a line: first the nodes come in,\n" +
			"then a round of groups goes out and its outcomes come in, until the verdict goes out.",
		Example: "  echo '{\"nodes\":[{\"name\":\"gpu-00\",\"leaf\":\"leaf-a\"},{\"name\":\"gpu-08\",\"leaf\":\"leaf-b\"}]}' | gpumedic localize --stdio",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !stdio {
				return &exit{wrongUse, errors.New("localize needs --stdio: it talks to a program that runs the tests")}
			}
			if err := localize.Stdio(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout()); err != nil {
				return &exit{wrongUse, err}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&stdio, "stdio", false, "talk on standard input and output (required)")
	return cmd
}
