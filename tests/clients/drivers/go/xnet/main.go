// Command xnet drives golang.org/x/net/websocket.
package main

import (
	"encoding/json"
	"net/url"

	"chatnode/drivers/lines"

	"golang.org/x/net/websocket"
)

func main() {
	lines.Drive(func(address string) (lines.Socket, error) {
		// It wants an origin. The node's own address is always allowed.
		parts, err := url.Parse(address)
		if err != nil {
			return lines.Socket{}, err
		}
		origin := "http://" + parts.Host
		if lines.Unadvised {
			origin += "/chat"
		}
		conn, err := websocket.Dial(address, "", origin)
		if err != nil {
			return lines.Socket{}, err
		}
		read := func() {
			defer conn.Close()
			// It does not tell where a message begins and ends, but a decoder of JSON does.
			for decoder := json.NewDecoder(conn); ; {
				var text json.RawMessage
				if err := decoder.Decode(&text); err != nil {
					lines.Closed(0, err.Error())
					return
				}
				lines.Text(string(text))
			}
		}
		send := func(text string) error { return websocket.Message.Send(conn, text) }
		return lines.Socket{Send: send, Close: conn.Close, Read: read}, nil
	})
}
