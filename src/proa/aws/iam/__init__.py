"""AWS Identity and Access Management: ``service.build`` gives the gateway its operations,
``authorize.Authority`` its authoriser; the records are ``cloud.identity``'s."""
