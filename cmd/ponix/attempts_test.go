package main

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	gatewayv1 "ponix/proto/ponix/gateway/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
)

// attempts are, for each rpc that a member may call, the ways to reach for what
// is x's, as somebody whose own organization is given.
var attempts = map[string]func(x things, own string) []proto.Message{
	organizationv1.OrganizationService_GetOrganization_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&organizationv1.GetOrganizationRequest{OrganizationId: x.organization}}
	},
	enddevicev1.EndDeviceService_CreateEndDevice_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&enddevicev1.CreateEndDeviceRequest{OrganizationId: x.organization, Name: "n"}}
	},
	enddevicev1.EndDeviceService_GetEndDevice_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&enddevicev1.GetEndDeviceRequest{DeviceId: x.device}}
	},
	enddevicev1.EndDeviceService_BatchGetEndDevices_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&enddevicev1.BatchGetEndDevicesRequest{DeviceIds: []string{x.device}}}
	},
	enddevicev1.EndDeviceService_ListEndDevices_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&enddevicev1.ListEndDevicesRequest{OrganizationId: x.organization}}
	},
	enddevicev1.EndDeviceService_UpdateEndDevice_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&enddevicev1.UpdateEndDeviceRequest{DeviceId: x.device, Name: new("mine")}, &enddevicev1.UpdateEndDeviceRequest{DeviceId: x.device}}
	},
	enddevicev1.EndDeviceService_DeleteEndDevice_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&enddevicev1.DeleteEndDeviceRequest{DeviceId: x.device}}
	},
	gatewayv1.GatewayService_CreateGateway_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&gatewayv1.CreateGatewayRequest{OrganizationId: x.organization, Name: "n", Type: gatewayv1.GatewayType_GATEWAY_TYPE_EMQX, Config: &gatewayv1.CreateGatewayRequest_EmqxConfig{EmqxConfig: broker}}}
	},
	gatewayv1.GatewayService_GetGateway_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&gatewayv1.GetGatewayRequest{GatewayId: x.gateway}}
	},
	gatewayv1.GatewayService_ListGateways_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&gatewayv1.ListGatewaysRequest{OrganizationId: x.organization}}
	},
	gatewayv1.GatewayService_UpdateGateway_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&gatewayv1.UpdateGatewayRequest{GatewayId: x.gateway, Name: "mine"}, &gatewayv1.UpdateGatewayRequest{GatewayId: x.gateway}}
	},
	gatewayv1.GatewayService_DeleteGateway_FullMethodName: func(x things, own string) []proto.Message {
		return []proto.Message{&gatewayv1.DeleteGatewayRequest{GatewayId: x.gateway}, &gatewayv1.DeleteGatewayRequest{GatewayId: x.gateway, OrganizationId: own}, &gatewayv1.DeleteGatewayRequest{GatewayId: x.gateway, OrganizationId: x.organization}}
	},
	gatewayv1.GatewayStateService_GetGatewayState_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&gatewayv1.GetGatewayStateRequest{GatewayId: x.gateway}}
	},
	gatewayv1.GatewayStateService_ListGatewayStates_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&gatewayv1.ListGatewayStatesRequest{OrganizationId: x.organization}}
	},
	envelopev1.ConversionService_ConvertPayload_FullMethodName: func(x things, _ string) []proto.Message {
		return []proto.Message{&envelopev1.ConvertPayloadRequest{Source: &envelopev1.ConvertPayloadRequest_DeviceId{DeviceId: x.device}, Payload: temperature}}
	},
	envelopev1.EnvelopeService_PublishRawEnvelopes_FullMethodName: func(x things, own string) []proto.Message {
		return []proto.Message{
			&envelopev1.PublishRawEnvelopesRequest{Envelopes: []*envelopev1.RawEnvelope{{OrganizationId: x.organization, DeviceId: x.device}}},
			&envelopev1.PublishRawEnvelopesRequest{Envelopes: []*envelopev1.RawEnvelope{{OrganizationId: own, DeviceId: x.device}}}, // a dead letter, whoever's it is
		}
	},
	envelopev1.EnvelopeService_WriteProcessedEnvelopes_FullMethodName: func(x things, own string) []proto.Message {
		return []proto.Message{
			&envelopev1.WriteProcessedEnvelopesRequest{Envelopes: []*envelopev1.ProcessedEnvelope{x.envelope()}},
			&envelopev1.WriteProcessedEnvelopesRequest{Envelopes: []*envelopev1.ProcessedEnvelope{things{own, x.device, ""}.envelope()}}, // a row of the writer's
		}
	},
	envelopev1.EnvelopeService_ListProcessedEnvelopes_FullMethodName: func(x things, own string) []proto.Message {
		return []proto.Message{
			&envelopev1.ListProcessedEnvelopesRequest{OrganizationId: x.organization, EndDeviceId: x.device},
			&envelopev1.ListProcessedEnvelopesRequest{OrganizationId: own, EndDeviceId: x.device, StartTime: timestamppb.Now()},
		}
	},
}
