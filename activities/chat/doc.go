// Package chat is the hand that speaks in Slack: it carries out post-card and
// post-story.
//
// Every message carries a key in its metadata, and the hand looks for that key
// before it posts, so that a repeated attempt finds the message of the earlier
// one instead of posting twice. Text that comes from logs and objects goes
// into rich text or plain text, which Slack does not interpret; what must be
// mrkdwn is escaped. Every text is cut to Slack's limits while the message is
// built, so no card can be refused for its size.
package chat
