package workflows_test

import (
	"errors"

	"github.com/stretchr/testify/mock"
	"go.temporal.io/sdk/workflow"
)

// The SDK's test environment takes testify's matchers for child workflows.
const anything = mock.Anything

type workflowContext = workflow.Context

func isContinueAsNew(err error) bool {
	var next *workflow.ContinueAsNewError
	return errors.As(err, &next)
}
