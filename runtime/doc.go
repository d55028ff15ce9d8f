// Package runtime hosts functions on NATS.
//
// A [Function] is a value: a name and its bindings. A binding connects one
// plain Go function to one source of work: an [Endpoint] answers an RPC, a
// [Transform], [OnMessage] or [OnBatch] trigger consumes a JetStream stream, a
// [Source] runs on its own. What a handler returns decides the fate of what it
// was given; it never sees a NATS message.
//
// Everything that handlers should not have to think about is done here, once:
// decoding, validation, deadlines, tracing, logging, counting, recovery, the
// mapping of errors, acknowledgements, dead letters, bounded concurrency and
// shutdown. A call passes the middleware in this order:
//
//	tracing → logging → metrics → deadline → recovery → decode and validate → handler
package runtime
