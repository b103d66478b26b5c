package clicks

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/slack-go/slack"
)

// ServeHTTP takes POST /slack/interactions. It answers 200 once the click is
// queued, 401 for a signature that is wrong or older than five minutes, other
// 4xx for what is no interaction, and 503 while clicks cannot be taken.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, "use POST")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxPayload))
	if err != nil {
		status := http.StatusBadRequest
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			status = http.StatusRequestEntityTooLarge
		}
		refuse(w, status, "the body could not be read whole")
		return
	}
	if err := r.verify(req.Header, body); err != nil {
		r.opts.Log.Warn("refused an interaction whose signature does not hold", "error", err, "remote", req.RemoteAddr)
		refuse(w, http.StatusUnauthorized, "the signature does not hold")
		return
	}
	in, problem := decode(req.Header.Get("Content-Type"), body)
	if problem != "" {
		refuse(w, http.StatusBadRequest, problem)
		return
	}
	if !r.take(in) {
		refuse(w, http.StatusServiceUnavailable, "clicks are not taken right now")
		return
	}
	w.WriteHeader(http.StatusOK)
}

// verify checks Slack's v0 signature over the raw bytes.
func (r *Receiver) verify(header http.Header, body []byte) error {
	verifier, err := slack.NewSecretsVerifier(header, r.opts.SigningSecret)
	if err != nil {
		return err
	}
	if _, err := verifier.Write(body); err != nil {
		return err
	}
	return verifier.Ensure()
}

// decode reads the form field "payload". problem is "" when it could.
func decode(contentType string, body []byte) (in slack.InteractionCallback, problem string) {
	if kind, _, err := mime.ParseMediaType(contentType); err != nil || kind != "application/x-www-form-urlencoded" {
		return in, "the body must be a form"
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return in, "the body is no form"
	}
	if err := json.Unmarshal([]byte(form.Get("payload")), &in); err != nil {
		return in, "the field payload holds no interaction"
	}
	return in, ""
}

func refuse(w http.ResponseWriter, status int, why string) {
	http.Error(w, why, status)
}
