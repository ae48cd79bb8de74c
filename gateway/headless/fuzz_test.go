package headless

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/postern-auth/postern/gateway/headless/headlesspb"
)

// FuzzDecode: whatever a body holds, it is read, or refused with a message for
// its sender; what was read and found good keeps the limits.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"email":"ann@example.com","template":"SIGNIN","expires_in":60,"state":"x","template_variables":{"plan":"y"}}`,
		`{"code":"123456","auth_request_id":"x"}`, `{"link_token":"x","code":"y"}`, `{"email":5}`, `{"template":99}`, `[]`, `{"email":"\ud800"}`, `{"email":null}`,
		`{"template_variables":{"a":{"b":[]}}}`, `{"expires_in":1e3}`, `{"expires_in":"60"}`, "{\"email\":\"\xff\"}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, into := range []proto.Message{&pb.SendPasswordlessRequest{}, &pb.ResendPasswordlessRequest{}, &pb.VerifyPasswordLessRequest{}} {
			err := decode(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader(body)), into)
			var told *failure
			if err != nil && (!errors.As(err, &told) || told.code != invalidArgument.code) {
				t.Errorf("%q: %v", body, err)
			}
			if in, ok := into.(*pb.SendPasswordlessRequest); ok && err == nil && checkSend(in) == nil {
				if len(in.Email) > 4*maxEmail || in.Email == "" || len(in.TemplateVariables) > maxVariables || in.ExpiresIn != nil && in.GetExpiresIn() < minExpiresIn {
					t.Errorf("%q is taken: %v", body, in)
				}
			}
		}
	})
}

// FuzzFrame: whatever the body of a gRPC call holds, it is one message, or is
// refused with a message for its sender.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(nil), "")
	f.Add([]byte{0, 0, 0, 0, 0}, "identity")
	f.Add([]byte{0, 0, 0, 0, 2, 10, 0}, "")
	f.Add([]byte{1, 0, 0, 0, 2, 31, 139}, "gzip")
	f.Add([]byte{0, 255, 255, 255, 255, 0}, "")
	f.Fuzz(func(t *testing.T, body []byte, encoding string) {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Grpc-Encoding", encoding)
		err := readFrame(r, body, new(pb.VerifyPasswordLessRequest))
		var told *failure
		if err != nil && (!errors.As(err, &told) || told.code != invalidArgument.code) {
			t.Errorf("%q: %v", body, err)
		}
	})
}
