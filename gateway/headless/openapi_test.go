package headless

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/postern-auth/postern/gateway/headless/headlesspb"
)

// schema is as much of JSON Schema as openapi.json uses.
type schema struct {
	Ref                  string `json:"$ref"`
	Type                 string
	Const                any
	Enum                 []any
	Required             []string
	Properties           map[string]*schema
	MinLength, MaxLength *int
	Minimum, Maximum     *int
	MaxProperties        *int
	PropertyNames        *schema
	AdditionalProperties *schema
	Not                  *schema
	Items                *schema
	OneOf                []*schema
}

type description struct {
	Paths map[string]map[string]struct {
		Responses map[string]struct {
			ErrorCodes []string `json:"x-error-codes"`
			Headers    map[string]any
		}
		RequestBody struct {
			Content map[string]struct{ Schema schema }
		}
	}
	Components struct{ Schemas map[string]*schema }
}

func readOpenAPI(t *testing.T) description {
	t.Helper()
	content, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var d description
	if err := json.Unmarshal(content, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestOpenAPIPaths: every path and method is described, and nothing else.
func TestOpenAPIPaths(t *testing.T) {
	t.Parallel()
	d := readOpenAPI(t)
	var described, served []string
	for path, methods := range d.Paths {
		for method := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	for path, route := range routes() {
		if !strings.HasPrefix(path, "/"+pb.PasswordlessServiceName) {
			served = append(served, route.method+" "+path)
		}
	}
	sort.Strings(described)
	sort.Strings(served)
	if !slices.Equal(described, served) {
		t.Errorf("described %v, served %v", described, served)
	}
}

// TestOpenAPIFields: the fields are those of the messages, with their types.
func TestOpenAPIFields(t *testing.T) {
	t.Parallel()
	d := readOpenAPI(t)
	for name, message := range map[string]proto.Message{
		"SendRequest": &pb.SendPasswordlessRequest{}, "SendResponse": &pb.SendPasswordlessResponse{}, "ResendRequest": &pb.ResendPasswordlessRequest{},
		"VerifyRequest": &pb.VerifyPasswordLessRequest{}, "VerifyResponse": &pb.VerifyPasswordLessResponse{},
	} {
		compareFields(t, name, d.Components.Schemas[name], message.ProtoReflect().Descriptor())
	}
	details := d.Components.Schemas["Status"].Properties["details"].Items
	delete(details.Properties, "@type")
	compareFields(t, "details", details, (&pb.ErrorInfo{}).ProtoReflect().Descriptor())
}

func compareFields(t *testing.T, name string, s *schema, message protoreflect.MessageDescriptor) {
	t.Helper()
	fields := message.Fields()
	if fields.Len() != len(s.Properties) {
		t.Errorf("%s: %d fields are described, there are %d", name, len(s.Properties), fields.Len())
	}
	for i := range fields.Len() {
		field := fields.Get(i)
		property := s.Properties[field.TextName()]
		if property == nil {
			t.Errorf("%s.%s is not described", name, field.TextName())
			continue
		}
		switch {
		case field.Enum() != nil:
			for _, value := range property.Enum {
				if !hasValue(field.Enum(), value) {
					t.Errorf("%s.%s has no value %v", name, field.TextName(), value)
				}
			}
		case field.IsList() && property.Type != "array", field.IsMap() && property.Type != "object",
			field.Kind() == protoreflect.Int64Kind && property.Type != "string",
			field.Kind() == protoreflect.Uint32Kind && property.Type != "integer",
			field.Kind() == protoreflect.StringKind && property.Type != "string" && property.Enum == nil:
			t.Errorf("%s.%s is described as %q", name, field.TextName(), property.Type)
		case field.Message() != nil && !field.IsMap() && !field.IsList():
			compareFields(t, name+"."+field.TextName(), property, field.Message())
		case field.IsList() && field.Message() != nil:
			compareFields(t, name+"."+field.TextName(), property.Items, field.Message())
		}
	}
}

// hasValue says whether a value of an enum has this name or number. An empty text
// is the same as none.
func hasValue(enum protoreflect.EnumDescriptor, value any) bool {
	if number, ok := value.(float64); ok {
		return enum.Values().ByNumber(protoreflect.EnumNumber(number)) != nil
	}
	return value == "" || enum.Values().ByName(protoreflect.Name(value.(string))) != nil
}

// TestOpenAPIVerify: the description takes and refuses what the server does.
func TestOpenAPIVerify(t *testing.T) {
	t.Parallel()
	described := readOpenAPI(t).Components.Schemas["VerifyRequest"]
	for body, fine := range map[string]bool{
		`{"code":"1","auth_request_id":"x"}`:                 true,
		`{"code":"1","auth_request_id":"x","link_token":""}`: true,
		`{"link_token":"1"}`:                                 true,
		`{"link_token":"1","auth_request_id":"x"}`:           true,
		`{"link_token":"1","auth_request_id":"x","code":""}`: true,
		`{}`:                                false,
		`{"auth_request_id":"x"}`:           false,
		`{"code":"1"}`:                      false,
		`{"code":"1","auth_request_id":""}`: false,
		`{"code":"","auth_request_id":"x"}`: false,
		`{"link_token":""}`:                 false,
		`{"code":"1","link_token":"1"}`:     false,
		`{"code":"1","link_token":"1","auth_request_id":"x"}`:  false,
		`{"code":"1","auth_request_id":"x","link_token":null}`: true,
	} {
		in := new(pb.VerifyPasswordLessRequest)
		err := decode(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader(body)), in)
		if taken := err == nil && checkVerify(in) == nil; taken != fine {
			t.Errorf("%s: the server takes it: %v", body, taken)
		}
		var fields map[string]string // in which null is ""
		if err := json.Unmarshal([]byte(body), &fields); err != nil {
			t.Fatal(err)
		}
		count := 0
		for _, one := range described.OneOf {
			if one.takes(fields) {
				count++
			}
		}
		if taken := count == 1; taken != fine {
			t.Errorf("%s: the description takes it: %v", body, taken)
		}
	}
}

// takes says whether an object of texts is one of the schema.
func (s *schema) takes(fields map[string]string) bool {
	for _, name := range s.Required {
		if _, ok := fields[name]; !ok {
			return false
		}
	}
	for name, property := range s.Properties {
		text, ok := fields[name]
		if ok && (property.MinLength != nil && len(text) < *property.MinLength || property.MaxLength != nil && len(text) > *property.MaxLength) {
			return false
		}
	}
	return true
}

// TestOpenAPIOAuth: the errors of tokens are described, with what they carry.
func TestOpenAPIOAuth(t *testing.T) {
	t.Parallel()
	d := readOpenAPI(t)
	for _, path := range []string{"/oauth/token", "/oauth/revoke"} {
		responses := d.Paths[path]["post"].Responses
		for _, status := range []int{200, 400, 401, 403, 413, 429, 500, 503} {
			response, ok := responses[itoa(status)]
			limited := status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
			if !ok || limited != (response.Headers["Retry-After"] != nil) {
				t.Errorf("%s %d: described %v, %v", path, status, ok, response.Headers)
			}
		}
		if len(responses) != 8 {
			t.Errorf("%s: %d answers are described", path, len(responses))
		}
	}
}

// TestOpenAPILimits: the limits are those that are checked.
func TestOpenAPILimits(t *testing.T) {
	t.Parallel()
	schemas := readOpenAPI(t).Components.Schemas
	send, verify := schemas["SendRequest"].Properties, schemas["VerifyRequest"].Properties
	variables := send["template_variables"]
	for name, pair := range map[string][2]int{
		"email":              {*send["email"].MaxLength, maxEmail},
		"magiclink_auth_uri": {*send["magiclink_auth_uri"].MaxLength, maxMagicLink},
		"state":              {*send["state"].MaxLength, maxState},
		"least expires_in":   {*send["expires_in"].Minimum, minExpiresIn},
		"most expires_in":    {*send["expires_in"].Maximum, maxExpiresIn},
		"variables":          {*variables.MaxProperties, maxVariables},
		"shortest name":      {*variables.PropertyNames.MinLength, minVariableName},
		"longest name":       {*variables.PropertyNames.MaxLength, maxVariableName},
		"variable":           {*variables.AdditionalProperties.MaxLength, maxVariable},
		"code":               {*verify["code"].MaxLength, maxCode},
		"link_token":         {*verify["link_token"].MaxLength, maxLinkToken},
		"auth_request_id":    {*verify["auth_request_id"].MaxLength, maxRequestID},
		"resend's":           {*schemas["ResendRequest"].Properties["auth_request_id"].MaxLength, maxRequestID},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: described as %d, checked as %d", name, pair[0], pair[1])
		}
	}
	if got := texts(variables.PropertyNames.Not.Enum); !slices.Equal(got, reservedVariables) {
		t.Errorf("reserved: described %v, checked %v", got, reservedVariables)
	}
	if got := schemas["SendRequest"].Required; !slices.Equal(got, []string{"email"}) {
		t.Errorf("required: %v", got)
	}
}

// TestOpenAPIErrors: every row of the table is described where it can come, with
// its status.
func TestOpenAPIErrors(t *testing.T) {
	t.Parallel()
	d := readOpenAPI(t)
	all := []kind{unauthenticated, invalidArgument, mediaType, tooLarge, invalidCode, expired, sameBrowser, rateLimited, insecure, unavailable, internal}
	known := d.Components.Schemas["Status"].Properties["details"].Items.Properties["error_code"].Enum
	for _, row := range all {
		if !slices.Contains(known, any(row.errorCode)) {
			t.Errorf("%s is not described", row.errorCode)
		}
	}
	only := map[string][]kind{"send": {expired, invalidCode, sameBrowser}, "resend": {invalidCode, sameBrowser}, "verify": nil}
	for name, never := range only {
		responses := d.Paths[restPrefix+name]["post"].Responses
		count := 0
		for _, row := range all {
			codes := responses[itoa(row.status)].ErrorCodes
			if slices.Contains(codes, row.errorCode) == slices.Contains(never, row) {
				t.Errorf("%s: %d %s", name, row.status, row.errorCode)
			}
		}
		for status, response := range responses {
			count += len(response.ErrorCodes)
			if limited := status == itoa(http.StatusTooManyRequests) || status == itoa(http.StatusServiceUnavailable); limited != (response.Headers["Retry-After"] != nil) {
				t.Errorf("%s %s: Retry-After", name, status)
			}
		}
		if count != len(all)-len(never) {
			t.Errorf("%s: %d error codes, want %d", name, count, len(all)-len(never))
		}
	}
}

func texts(values []any) (all []string) {
	for _, value := range values {
		all = append(all, value.(string))
	}
	return all
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }
