// Package guard decides whether gpumedic may act: allow, ask or refuse, always
// with all the reasons. It is pure. When in doubt it refuses.
package guard
