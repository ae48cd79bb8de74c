package headless

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/postern-auth/postern/gateway"
)

const restPrefix = "/api/v1/passwordless/email/"

// rest is a call in JSON.
func rest[In, Out any, PIn message[In], POut message[Out]](name string, serve func(service, context.Context, *gateway.Client, PIn) (POut, error)) func(*Handler, http.ResponseWriter, *http.Request, *call) {
	return func(h *Handler, w http.ResponseWriter, r *http.Request, c *call) {
		in := PIn(new(In))
		err := h.authenticate(r, c)
		if err == nil {
			err = decode(w, r, in)
		}
		var out POut
		if err == nil {
			out, err = serve(h.service, r.Context(), c.client, in)
		}
		if err != nil {
			h.fail(w, r, c, name, err)
			return
		}
		h.done(c, name)
		write(w, r, http.StatusOK, "application/json", marshal(out))
	}
}

// message is the pointer to a message.
type message[T any] interface {
	*T
	proto.Message
}

// marshal writes a message in snake_case, with every field. An int64 becomes a
// string, as protobuf's JSON has it.
func marshal(m proto.Message) []byte {
	spaced, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return []byte("{}\n")
	}
	return append(compact(spaced), '\n')
}

// compact takes out blanks, which protojson puts in at random.
func compact(spaced []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, spaced) != nil {
		return spaced
	}
	return out.Bytes()
}

// decode reads a message field by field: one that is not known is passed over,
// and a mistake names its field.
func decode(w http.ResponseWriter, r *http.Request, into proto.Message) error {
	if r.Header.Get("Content-Type") != "" && !hasType(r, "application/json") {
		return &failure{kind: mediaType, message: "write Content-Type: application/json"}
	}
	content, err := body(w, r)
	if err != nil {
		return err
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(content, &given); err != nil || given == nil {
		return badBody("the body is not a JSON object")
	}
	fields := into.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		value, ok := given[field.TextName()]
		if !ok || isNone(field, value) {
			continue
		}
		if err := decodeField(field, value, into); err != nil {
			return err
		}
	}
	return nil
}

// isNone says whether a field is there and says nothing: an empty text is the same
// as none.
func isNone(field protoreflect.FieldDescriptor, value json.RawMessage) bool {
	text := field.Kind() == protoreflect.StringKind || field.Kind() == protoreflect.EnumKind
	return string(value) == "null" || text && string(value) == `""`
}

func decodeField(field protoreflect.FieldDescriptor, value json.RawMessage, into proto.Message) error {
	name := field.TextName()
	if group := field.ContainingOneof(); group != nil && !group.IsSynthetic() && into.ProtoReflect().WhichOneof(group) != nil {
		return violation(name, "oneof", "code and link_token exclude each other: write one")
	}
	one := into.ProtoReflect().New().Interface()
	whole, _ := json.Marshal(map[string]json.RawMessage{name: value})
	if err := protojson.Unmarshal(whole, one); err != nil {
		if field.Enum() != nil { // template is the only one that a call takes
			return badTemplate()
		}
		return violation(name, "type", fmt.Sprintf("%s: this is no %s", name, typeName(field)))
	}
	proto.Merge(into, one)
	return nil
}

func typeName(field protoreflect.FieldDescriptor) string {
	if field.IsMap() {
		return "object of strings"
	}
	return field.Kind().String()
}

// status is google.rpc.Status in JSON.
type status struct {
	Code    int               `json:"code"`
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details"`
}

// fail answers a call in JSON with an error. name is "" where it was not begun.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, c *call, name string, err error) {
	f := h.told(c, name, err)
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(wholeSeconds(f.retryAfter)))
	}
	if f.kind == unauthenticated {
		w.Header().Set("WWW-Authenticate", challenge("Bearer", r))
	}
	answer := status{Code: int(f.code), Message: f.message}
	if info, err := anypb.New(f.details(c.id)); err == nil {
		if detail, err := (protojson.MarshalOptions{UseProtoNames: true}).Marshal(info); err == nil {
			answer.Details = append(answer.Details, compact(detail))
		}
	}
	writeJSON(w, r, f.status, "application/json", answer)
}
