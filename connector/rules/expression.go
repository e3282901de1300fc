package rules

import (
	"fmt"
	"reflect"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/countersign/countersign/connector"
)

// maxCost bounds one evaluation, in CEL's own units: some milliseconds.
const maxCost = 1_000_000

// maxResult bounds the groups and texts that an expression makes.
const maxResult = 10_000

// resultType is what an expression may give.
type resultType string

const (
	text  resultType = "string"
	texts resultType = "list(string)"
	truth resultType = "bool"
)

// environment is what expressions can name.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("user", cel.MapType(cel.StringType, cel.DynType)),
		ext.Strings(ext.StringsVersion(4)), ext.Sets(), ext.Lists(), cel.OptionalTypes(),
	)
})

// expression is compiled.
type expression struct {
	source  string
	program cel.Program
}

// compile checks the types, too: an expression whose type is known only when it is
// computed (a claim) must be one of them then.
func compile(source string, wanted []resultType) (*expression, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("preparing CEL: %w", err)
	}
	ast, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	if !fits(ast.OutputType(), wanted) {
		return nil, fmt.Errorf("it gives %s and should give %v", ast.OutputType(), wanted)
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("preparing the expression: %w", err)
	}
	return &expression{source: source, program: program}, nil
}

func fits(got *cel.Type, wanted []resultType) bool {
	if got.IsExactType(cel.DynType) {
		return true
	}
	for _, w := range wanted {
		switch w {
		case text:
			if got.IsExactType(cel.StringType) {
				return true
			}
		case truth:
			if got.IsExactType(cel.BoolType) {
				return true
			}
		case texts:
			if got.Kind() == types.ListKind && (got.Parameters()[0].IsExactType(cel.StringType) || got.Parameters()[0].IsExactType(cel.DynType)) {
				return true
			}
		}
	}
	return false
}

// inputs are the variables.
type inputs map[string]any

func input(who connector.Identity) inputs {
	claims, groups := who.Claims, who.Groups
	if claims == nil {
		claims = map[string]any{}
	}
	if groups == nil {
		groups = []string{}
	}
	return inputs{"claims": claims, "user": map[string]any{
		"id": who.UserID, "name": who.Name, "preferred_username": who.PreferredUsername,
		"email": who.Email, "email_verified": who.EmailVerified, "groups": groups,
	}}
}

// email is the address that the connector found.
func (in inputs) email() string {
	address, _ := in["user"].(map[string]any)["email"].(string)
	return address
}

// value computes the expression.
func (e *expression) value(in inputs) (ref.Val, error) {
	out, _, err := e.program.Eval(map[string]any(in))
	if err != nil {
		return nil, fmt.Errorf("%w: computing %q: %v", connector.ErrUpstream, e.source, err)
	}
	return out, nil
}

func (e *expression) text(in inputs) (string, error) {
	out, err := e.value(in)
	if err != nil {
		return "", err
	}
	s, ok := out.Value().(string)
	if !ok {
		return "", e.unfit(out, text)
	}
	return s, nil
}

func (e *expression) texts(in inputs) ([]string, error) {
	out, err := e.value(in)
	if err != nil {
		return nil, err
	}
	native, err := out.ConvertToNative(reflect.TypeFor[[]string]())
	if err != nil {
		return nil, e.unfit(out, texts)
	}
	list, ok := native.([]string)
	if !ok || len(list) > maxResult {
		return nil, e.unfit(out, texts)
	}
	return list, nil
}

// refused is what people are shown when the operator has written no message.
const refused = "You may not sign in here."

// verdict reads a policy: whether the person may come in, and if not, why.
func (e *expression) verdict(in inputs) (message string, allowed bool, err error) {
	out, err := e.value(in)
	if err != nil {
		return "", false, err
	}
	switch v := out.Value().(type) {
	case bool:
		return refused, v, nil
	case string:
		return v, v == "", nil
	}
	return "", false, e.unfit(out, truth)
}

func (e *expression) unfit(out ref.Val, wanted resultType) error {
	return fmt.Errorf("%w: %q gives %s and should give %s", connector.ErrUpstream, e.source, out.Type().TypeName(), wanted)
}
