// Drives libwebsockets, with the line protocol of tests/clients/driver.rs.
#include <libwebsockets.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
	struct line *next;
	char *text;
};

/* What belongs to one connection. */
struct session {
	/* The parts of a message. */
	char *message;
	size_t length;
	int is_told;
};

/* Commands of the input, which another thread reads. */
static struct line *commands;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct lws_context *context;
/* The last connection, its texts to send, and whether the program wants to close it. */
static struct lws *current;
static struct line *texts;
static int wants_to_close;

static void push(struct line **queue, char *text)
{
	struct line *line = malloc(sizeof *line);
	*line = (struct line) { NULL, text };
	while (*queue)
		queue = &(*queue)->next;
	*queue = line;
}

static char *pop(struct line **queue)
{
	struct line *line = *queue;
	if (!line)
		return NULL;
	char *text = line->text;
	*queue = line->next;
	free(line);
	return text;
}

static void tell(const char *words, const char *data, size_t length)
{
	char *encoded = malloc(length * 2 + 8);
	lws_b64_encode_string(data, (int)length, encoded, (int)length * 2 + 8);
	printf("%s %s\n", words, encoded);
	fflush(stdout);
	free(encoded);
}

static void open_connection(const char *url)
{
	char host[64] = "", path[64] = "";
	int port = 0;
	sscanf(url, "ws://%63[^:]:%d%63s", host, &port, path);
	struct lws_client_connect_info info = {
		.context = context, .address = host, .host = host, .port = port, .path = path, .pwsi = &current,
		.local_protocol_name = "chat",
	};
	wants_to_close = 0;
	lws_client_connect_via_info(&info);
}

/* The library frees an ended connection. */
static void forget(struct lws *wsi)
{
	if (wsi == current)
		current = NULL;
}

static void carry_out(void)
{
	char *line;
	pthread_mutex_lock(&lock);
	while ((line = pop(&commands))) {
		if (!strncmp(line, "open ", 5)) {
			open_connection(line + 5);
		} else if (current && !strncmp(line, "send ", 5)) {
			push(&texts, strdup(line + 5));
			lws_callback_on_writable(current);
		} else if (current && !strcmp(line, "close")) {
			wants_to_close = 1;
			lws_callback_on_writable(current);
		}
		free(line);
	}
	pthread_mutex_unlock(&lock);
}

static int write_text(struct lws *wsi)
{
	char *encoded = pop(&texts);
	if (encoded) {
		size_t size = strlen(encoded) + 1;
		char *buffer = malloc(LWS_PRE + size);
		int length = lws_b64_decode_string(encoded, buffer + LWS_PRE, (int)size);
		lws_write(wsi, (unsigned char *)buffer + LWS_PRE, (size_t)length, LWS_WRITE_TEXT);
		free(buffer);
		free(encoded);
		lws_callback_on_writable(wsi);
	} else if (wants_to_close) {
		lws_close_reason(wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
		return -1;
	}
	return 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length)
{
	char words[32];
	const unsigned char *bytes = in;
	struct session *session = user;
	switch (reason) {
	case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
		carry_out();
		break;
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		puts("opened");
		fflush(stdout);
		break;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		session->message = realloc(session->message, session->length + length);
		memcpy(session->message + session->length, in, length);
		session->length += length;
		if (lws_is_final_fragment(wsi) && !lws_remaining_packet_payload(wsi)) {
			tell("text", session->message, session->length);
			session->length = 0;
		}
		break;
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return write_text(wsi);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		if (length >= 2) {
			snprintf(words, sizeof words, "closed %d", bytes[0] << 8 | bytes[1]);
			tell(words, (const char *)in + 2, length - 2);
			session->is_told = 1;
		}
		break;
	case LWS_CALLBACK_CLIENT_CLOSED:
		if (!session->is_told)
			tell("closed -", "", 0);
		free(session->message);
		forget(wsi);
		break;
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		snprintf(words, sizeof words, "status %u", lws_http_client_http_response(wsi));
		tell("failed", words, strlen(words));
		forget(wsi);
		break;
	default:
		break;
	}
	return 0;
}

static void *read_input(void *unused)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t length;
	while ((length = getline(&line, &size, stdin)) > 0) {
		line[strcspn(line, "\n")] = 0;
		pthread_mutex_lock(&lock);
		push(&commands, strdup(line));
		pthread_mutex_unlock(&lock);
		lws_cancel_service(context);
	}
	exit(0);
	return unused;
}

int main(void)
{
	struct lws_protocols protocols[] = { { "chat", on_event, sizeof(struct session), 4096, 0, NULL, 0 }, { NULL, NULL, 0, 0, 0, NULL, 0 } };
	struct lws_context_creation_info info = { .port = CONTEXT_PORT_NO_LISTEN, .protocols = protocols, .uid = -1, .gid = -1 };
	pthread_t reader;
	lws_set_log_level(0, NULL);
	context = lws_create_context(&info);
	pthread_create(&reader, NULL, read_input, NULL);
	while (lws_service(context, 0) >= 0)
		;
	return 0;
}
