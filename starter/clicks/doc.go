// Package clicks receives what people press in Slack, over Socket Mode or as
// signed HTTP requests, and hands it to a Sink.
//
// Slack wants an answer within three seconds, so a click is acknowledged as
// soon as it is understood and queued; the vote itself happens afterwards and
// its answer is told to the person who clicked, and to nobody else. A click
// that cannot be queued is not acknowledged: then Slack shows the person an
// error instead of swallowing the vote.
//
// A click proves only who pressed which button of which message. Whether the
// person may vote, and whether the plan is still the one that waits, is for
// the Sink to say.
package clicks
