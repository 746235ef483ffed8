/**
 * What the examples of the documentation may use without an import: the parts of a reader's own application. Nothing of
 * this package belongs here, and nothing of its peers: an example that lacks such an import must not compile.
 */

declare class Mailer {
  sendWelcome(userId: number, options?: { signal?: AbortSignal }): Promise<void>;
}

declare class Payments {
  charge(orderId: string): Promise<'charged' | 'card declined'>;
}

declare class User {
  id: number;
  credits: number;
  email: string;
}

interface SignupForm {
  email: string;
}

/** The task of the README's first pages. */
declare class SendWelcomeEmail {
  run(payload: { userId: number }): Promise<void>;
}
