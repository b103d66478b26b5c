package steps

import (
	"crypto/sha256"
	"encoding/hex"
)

// OwnerValue is the value of OwnerLabel for an incident: the first 16 hex
// digits of the SHA-256 of its id, because an id does not fit a label.
func OwnerValue(incidentID string) string {
	sum := sha256.Sum256([]byte(incidentID))
	return hex.EncodeToString(sum[:8])
}
