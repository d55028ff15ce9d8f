package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
	"ponix/runtime/local"
	"ponix/runtime/wire"
)

// mqttLoad publishes to a gateway's broker. Neither the broker nor its publisher
// is tortured: what the broker has acknowledged is what Ponix has to deliver.
//
// The broker is that of `ponix up --mqtt`, which keeps sessions and packet ids
// while connections come and go.
type mqttLoad struct {
	broker *local.Broker
	client mqtt.Client
	topic  string
	device string
	acked  uint64
}

// startMQTT makes a gateway, and returns when somebody subscribes for it.
func startMQTT(ctx context.Context, w *world, organization string, device *enddevicev1.EndDevice) (*mqttLoad, error) {
	broker, err := local.StartBroker("127.0.0.1", 0, w.log)
	if err != nil {
		return nil, err
	}
	m := &mqttLoad{broker: broker, device: device.DeviceId, topic: organization + "/" + device.DeviceId}
	gateway, err := gatewayv1.NewGatewayServiceClient(w.conn).CreateGateway(ctx, &gatewayv1.CreateGatewayRequest{
		OrganizationId: organization, Name: "torture", Type: gatewayv1.GatewayType_GATEWAY_TYPE_EMQX,
		Config: &gatewayv1.CreateGatewayRequest_EmqxConfig{EmqxConfig: &gatewayv1.EMQXGatewayConfig{BrokerUrl: broker.URL}},
	})
	if err != nil {
		return nil, err
	}
	states := gatewayv1.NewGatewayStateServiceClient(wire.NewClient(w.nc))
	for {
		got, err := states.GetGatewayState(ctx, &gatewayv1.GetGatewayStateRequest{GatewayId: gateway.Gateway.GatewayId})
		if err == nil && got.State.Connection == gatewayv1.ConnectionStatus_CONNECTION_STATUS_CONNECTED {
			break
		}
		if wait(ctx, 100*time.Millisecond) != nil {
			return nil, fmt.Errorf("nobody connects to the gateway's broker: %w", errors.Join(err, ctx.Err()))
		}
	}
	m.client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker(broker.URL).SetClientID("torture"))
	if token := m.client.Connect(); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		return nil, fmt.Errorf("connect to the broker: %w", token.Error())
	}
	return m, nil
}

// run publishes at QoS 1, one at a time, until ctx is done.
func (m *mqttLoad) run(ctx context.Context, every time.Duration) {
	for wait(ctx, every) == nil {
		token := m.client.Publish(m.topic, 1, false, binary.BigEndian.AppendUint32(nil, uint32(m.acked+1)))
		if token.Wait(); token.Error() == nil {
			m.acked++
		}
	}
}

func (m *mqttLoad) stop() {
	m.client.Disconnect(100)
	m.broker.Stop()
}
